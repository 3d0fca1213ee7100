"""All benchmarks: one table, one JSON, under 20 minutes on two cores.

python -m experiments.benchmarks [--json FILE]
"""

import argparse
from pathlib import Path

from experiments.benchmarks.suite import measure

JSON_FILE = Path("runs") / "benchmarks.json"


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, default=JSON_FILE, help=f"default: {JSON_FILE}")
    arguments = parser.parse_args()
    measure(json_file=arguments.json)
    print(f"rows in {arguments.json}")


if __name__ == "__main__":
    main()
