"""Whether the base install can be had for a 64-bit ARM box without a compiler.

    python experiments/aarch64_wheels.py

Walks the dependencies of the installed fedklpr-flwr (no extras) as an ARM box would see them, and
lets pip look for a wheel of each at the version installed here; nothing is downloaded but metadata.
Exit status 0 only if every package has one, but for those known as pure Python in source form.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import distribution

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_26_aarch64")
PLATFORMS += ("manylinux_2_24_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
"""What glibc 2.28 takes: Debian 10, Ubuntu 20.04, JetPack 5 and all that is newer."""


FOR_A_GPU = ("cuda-", "nvidia-", "triton")
"""What PyPI's torch brings along for CUDA; PyTorch's own index of CPU wheels leaves it out."""

SOURCE_ONLY = {"antlr4-python3-runtime": "pure Python, needs no compiler"}
"""What its makers publish as source alone, for any machine; Hydra needs it at this version."""


def base_install(name: str = "fedklpr-flwr") -> dict[str, str]:
    """Every package that a base install brings to an ARM box, with the version installed here.

    Args:
        name: where the walk begins; it is not in the answer itself.
    """
    box = {**default_environment(), "platform_machine": "aarch64", "extra": ""}
    found: dict[str, str] = {}
    waiting = [(name, frozenset[str]())]
    seen = set(waiting)
    while waiting:
        package, extras = waiting.pop()
        known = distribution(package)
        found[canonicalize_name(package)] = Version(known.version).public
        for line in known.requires or ():
            needed = Requirement(line)
            if needed.name.startswith(FOR_A_GPU):
                continue
            marker = needed.marker
            chosen = [{**box, "extra": extra} for extra in ("", *extras)]
            if marker is None or any(marker.evaluate(each) for each in chosen):
                item = (needed.name, frozenset(needed.extras))
                waiting += [item] * (item not in seen)
                seen.add(item)
    del found[canonicalize_name(name)]
    return dict(sorted(found.items()))


def wheels(packages: dict[str, str]) -> dict[str, str]:
    """The wheel that pip would take for each package.

    Raises:
        RuntimeError: pip finds none for one of them; its own words.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet"]
    command += ["--ignore-installed", "--only-binary=:all:", "--report", "-"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    with tempfile.TemporaryDirectory() as nowhere:
        pins = [f"{name}=={v}" for name, v in packages.items() if name not in SOURCE_ONLY]
        done = subprocess.run(
            [*command, "--target", nowhere, *pins], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    items = json.loads(done.stdout)["install"]
    return {
        canonicalize_name(item["metadata"]["name"]): item["download_info"]["url"].rsplit("/", 1)[1]
        for item in items
    }


def main() -> int:
    """Say which wheel each package has."""
    argparse.ArgumentParser(description=str(__doc__).splitlines()[0]).parse_args()
    packages = base_install()
    try:
        found = wheels(packages)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    found |= SOURCE_ONLY
    for name, version in packages.items():
        print(f"{name:28} {version:14} {found.get(name, 'NO WHEEL')}")
    missing = packages.keys() - found.keys()
    built = sum("aarch64" in wheel for wheel in found.values())
    print(f"{len(packages)} packages, {built} of them built for aarch64, {len(missing)} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
