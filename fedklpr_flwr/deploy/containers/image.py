"""The image of one part: a Containerfile and the files that it copies."""

import io
import tarfile
from pathlib import Path

from fedklpr_flwr.deploy.sites_file import ServerPlace, SitePlace, Sites
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system.paths import app_folder

USER = 10001
"""Whom a container runs as: no user of the machine's, so that its files are nobody else's."""

BASE = "python:3.11-slim"
APP = "/opt/fedklpr/app"
"""Where the SuperLink's image keeps the checkout that `fedklpr run` sends to the boxes."""

TORCH_LOCK = "torch.lock"
_LOCKS = ("build.lock", "requirements.lock", "torch.in")
_SENT = ("fedklpr_flwr/**/*.py", "conf/**/*.yaml", "pyproject.toml", "README.md", "LICENSE")

_CONTAINERFILE = """\
# The image of {what} of {federation}. Made by `fedklpr deploy init --containers`.
# Every package is held to the hashes of the locks beside this file. The base is not yet: deploy
# init asks no registry. `docker buildx imagetools inspect {base}` tells its digest; it belongs
# into a file .env beside compose.yaml: BASE={base}@sha256:...
# torch.lock is made once, where PyTorch's own index of CPU builds can be reached:
#   uv pip compile torch.in --no-deps --torch-backend cpu --generate-hashes -o torch.lock
ARG BASE={base}

FROM ${{BASE}} AS build
WORKDIR /build
COPY build.lock requirements.lock torch.lock ./
RUN python -m venv tools \\
 && tools/bin/pip install --no-cache-dir --require-hashes --no-deps -r build.lock
RUN tools/bin/pip wheel --no-cache-dir --no-build-isolation --require-hashes --no-deps \\
    -w wheels -r requirements.lock
ADD app.tar app/
RUN tools/bin/pip wheel --no-build-isolation --no-index --no-deps -w wheels ./app
RUN python -m venv --without-pip {venv} \\
 && tools/bin/pip --python {venv}/bin/python install --no-index --no-deps wheels/*.whl
RUN {venv}/bin/uv pip install --python {venv}/bin/python --no-cache \\
    --torch-backend cpu --require-hashes --no-deps -r torch.lock

FROM ${{BASE}}
RUN useradd --uid {user} --user-group --no-create-home --home-dir {work} \\
    --shell /usr/sbin/nologin fedklpr \\
 && install -d -m 700 -o {user} -g {user} {folders}
COPY --from=build {venv} {venv}
{app}ENV PATH={venv}/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER {user}:{user}
"""


def containerfile(sites: Sites, part: ServerPlace | SitePlace) -> str:
    """The Containerfile of a part: its Python where the service has it, and what it writes."""
    office, work = isinstance(part, ServerPlace), sites.work_of(part)
    return _CONTAINERFILE.format(
        what="the SuperLink" if isinstance(part, ServerPlace) else f"the SuperNode {part.name}",
        federation=sites.federation,
        base=BASE,
        venv=part.venv,
        work=work,
        folders=f"{work} {part.cache}" if isinstance(part, SitePlace) and part.cache else work,
        user=USER,
        app=f"COPY --from=build /build/app {APP}\n" if office else "",
    )


def context_files(torch_lock: bytes | None) -> dict[str, bytes]:
    """What a Containerfile copies, by name.

    Args:
        torch_lock: CPU torch and torchvision with their hashes; None = not made yet.

    Raises:
        RunError: this is no checkout.
    """
    own = Path(__file__).parent
    files = {name: (own / name).read_bytes() for name in _LOCKS}
    files["app.tar"] = app_archive(app_folder())
    return files if torch_lock is None else {**files, TORCH_LOCK: torch_lock}


def app_archive(checkout: Path) -> bytes:
    """The app as a tar file, the same bytes whenever it is made of the same files.

    Args:
        checkout: the project's folder.

    Raises:
        RunError: one of its files cannot be read.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(path for pattern in _SENT for path in checkout.glob(pattern)):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
            entry = tarfile.TarInfo(path.relative_to(checkout).as_posix())
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
