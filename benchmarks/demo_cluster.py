#!/usr/bin/env python3
"""What the creation of a demonstration cluster is made of, from nothing but the build cache to DNS and metrics that answer.

    benchmarks/demo_cluster.py [runs]

Creates and removes a cluster, and prints the seconds of each step as minimum, median and maximum. It is the cluster that
`make production` uses: run it where there is none.
"""

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLAYBOOK = ["ansible-playbook", "--inventory=inventories/production"]
TASK = re.compile(r"TASK \[(?:(\w+) : )?([^|\]]+?)(?: \| [^\]]+)?\]")
OTHER_FILES = {"wait": "Wait until all of it answers", "summarize": "Say where it is"}
# Or a task's name would be printed when it is over.
ENVIRONMENT = os.environ | {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}


def create():
    """Create a cluster and return the seconds of each step, which a role's main file or another file's name stand for."""
    taken, step, since = {}, "Ansible starts", time.perf_counter()
    command = [*PLAYBOOK, "playbooks/create-demo-cluster.yml"]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            task = TASK.match(line)
            within = task and task[2].islower() and task[1] != "registry" and task[2] not in OTHER_FILES
            if not task or within or "Validating" in line:
                continue
            now = time.perf_counter()
            taken[step] = taken.get(step, 0) + now - since
            step, since = ("The registry" if task[1] == "registry" else OTHER_FILES.get(task[2], task[2])), now
    if process.returncode:
        raise SystemExit("The cluster was not created.")
    taken[step] = taken.get(step, 0) + time.perf_counter() - since
    return taken | {"All of it": sum(taken.values())}


def main():
    """Measure and print the table."""
    runs = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        runs.append(create())
        subprocess.run([*PLAYBOOK, "playbooks/remove-demo-cluster.yml"], cwd=ROOT, check=True, capture_output=True)
    print(f"| step ({len(runs)} runs) | minimum | median | maximum |\n| --- | --- | --- | --- |")
    for step in runs[-1]:
        values = [run.get(step, 0) for run in runs]
        if max(values) < 0.1:
            continue  # it was not due
        print(f"| {step} | {min(values):.1f} s | {statistics.median(values):.1f} s | {max(values):.1f} s |")


if __name__ == "__main__":
    main()
