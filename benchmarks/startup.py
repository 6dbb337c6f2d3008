#!/usr/bin/env python3
"""What a new pod of gunicorn waits for until it serves, which is what a release and an autoscaler wait for.

    make production && benchmarks/startup.py [runs]

Deletes a pod, watches the one that comes in its place, and prints the seconds of each step as minimum, median and maximum.
"""

import datetime
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

KUBECTL = next(iter(sorted(Path.home().glob(".cache/tandem/demo_cluster/*/bin/kubectl"))), "kubectl")
ACCESS = [KUBECTL, f"--kubeconfig={Path.home()}/.kube/tandem-demo", "--namespace=tandem"]
SELECTOR = "--selector=app.kubernetes.io/name=django"
STEPS = {
    "scheduled": "the scheduler finds a node",
    "started": "volumes, network, and the container from an image that the node has",
    "loaded": "Python, Django and the site are imported",
    "listening": "gunicorn listens",
    "ready": "the probes have seen it",
}
# What the container's first process was started at, in seconds since 1970.
STARTED = "import os, time; ticks = int(open('/proc/1/stat').read().rpartition(')')[2].split()[19]); "
STARTED += "print(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf('SC_CLK_TCK'))"


def kubectl(*arguments):
    """Return what a command of kubectl prints."""
    return subprocess.run([*ACCESS, *arguments], check=True, capture_output=True, text=True).stdout


def logged(name, text):
    """Return when a pod wrote a line with a text."""
    line = next(line for line in kubectl("logs", name, "--timestamps").splitlines() if text in line)
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", line.split()[0])).timestamp()


def watch(known):
    """Return the name of the first pod that is not among those known, and when each of its states was seen."""
    seen, name = {}, None
    command = [*ACCESS, "get", "pods", SELECTOR, "--watch", "--output=json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        decoder, text = json.JSONDecoder(), ""
        for line in process.stdout:
            text += line
            if line.rstrip() != "}":
                continue
            pod, text = decoder.raw_decode(text)[0], ""
            if pod["metadata"]["name"] in known:
                continue
            name = pod["metadata"]["name"]
            conditions = {entry["type"] for entry in pod["status"].get("conditions", []) if entry["status"] == "True"}
            for state, holds in {"created": True, "scheduled": "nodeName" in pod["spec"], "ready": "Ready" in conditions}.items():
                if holds:
                    seen.setdefault(state, time.time())
            if "ready" in seen:
                process.terminate()
                break
    return name, seen


def measure():
    """Replace a pod and return the seconds of each step of the new one's start."""
    known = kubectl("get", "pods", SELECTOR, "--output=jsonpath={.items[*].metadata.name}").split()
    kubectl("delete", "pod", known[0], "--wait=false")
    name, seen = watch(known)
    seen["started"] = float(kubectl("exec", name, "--", "python", "-c", STARTED))
    seen["loaded"] = logged(name, "Starting gunicorn")
    seen["listening"] = logged(name, "Booting worker")
    kubectl("wait", "--for=delete", f"pod/{known[0]}", "--timeout=90s")
    order = ["created", *STEPS]
    return {step: seen[step] - seen[before] for before, step in zip(order, STEPS, strict=False)} | {
        "all": seen["ready"] - seen["created"]
    }


def main():
    """Measure and print the table."""
    runs = [measure() for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)]
    print(f"| until ({len(runs)} runs) | minimum | median | maximum |\n| --- | --- | --- | --- |")
    for step, title in (STEPS | {"all": "all of it"}).items():
        values = [run[step] for run in runs]
        print(f"| {title} | {min(values):.2f} s | {statistics.median(values):.2f} s | {max(values):.2f} s |")


if __name__ == "__main__":
    main()
