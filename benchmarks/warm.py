#!/usr/bin/env python3
"""How long a deployment takes that changes nothing, beside `docker compose up` of the same project, in one run.

    make local && benchmarks/warm.py [runs]

Both commands in turn, so that a busy machine is busy for both; the table has each one's seconds as minimum, median and maximum.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = Path.home() / ".local/state/tandem/compose.yml"
COMMANDS = {
    "make local": ["make", "--silent", "local"],
    "docker compose up -d --wait": ["docker", "compose", "--file", PROJECT, "up", "--detach", "--wait"],
}


def seconds(command):
    """Return how long a command took, after it went well."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def main():
    """Measure both and print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    taken = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            taken[name].append(seconds(command))
    print(f"| command ({runs} runs each, in turn) | minimum | median | maximum |\n| --- | --- | --- | --- |")
    for name, values in taken.items():
        print(f"| `{name}` | {min(values):.1f} s | {statistics.median(values):.1f} s | {max(values):.1f} s |")


if __name__ == "__main__":
    main()
