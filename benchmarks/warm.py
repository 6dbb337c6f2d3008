#!/usr/bin/env python3
"""How long a deployment takes that changes nothing, beside the platform's own command for the same, in one run.

    make local && benchmarks/warm.py compose [runs]
    make production && benchmarks/warm.py kubernetes [runs]

Both commands in turn, so that a busy machine is busy for both; the table has each one's seconds as minimum, median and maximum.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = Path.home() / ".local/state/tandem/compose.yml"
KUBECTL = next(iter(sorted(Path.home().glob(".cache/tandem/demo_cluster/*/bin/kubectl"))), "kubectl")
PLAY = ["ansible-playbook", "--inventory=inventories/production"]
COMMANDS = {
    "compose": {
        "make local": ["make", "--silent", "local"],
        "docker compose up -d --wait": ["docker", "compose", "--file", PROJECT, "up", "--detach", "--wait"],
    },
    "kubernetes": {
        "deploy-site.yml": [*PLAY, "playbooks/deploy-site.yml"],
        "kubectl apply --server-side": [
            KUBECTL,
            f"--kubeconfig={Path.home()}/.kube/tandem-production",
            "apply",
            "--server-side",
            "--field-manager=tandem",
            "--filename=rendered/production",
        ],
    },
}


def seconds(command):
    """Return how long a command took, after it went well."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def main():
    """Measure both and print the table."""
    commands = COMMANDS[sys.argv[1]]
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    if sys.argv[1] == "kubernetes":
        # With the names that the engine's images have: what a render offline calls them may be another site.
        render = [*PLAY, "playbooks/render-site.yml", "--extra-vars=image_offline=false"]
        subprocess.run(render, cwd=ROOT, check=True, capture_output=True)
    taken = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(seconds(command))
    print(f"| command ({runs} runs each, in turn) | minimum | median | maximum |\n| --- | --- | --- | --- |")
    for name, values in taken.items():
        print(f"| `{name}` | {min(values):.1f} s | {statistics.median(values):.1f} s | {max(values):.1f} s |")


if __name__ == "__main__":
    main()
