#!/usr/bin/env python3
"""What gunicorn's settings are worth on the site's own image, through nginx.

    make local && benchmarks/gunicorn.py [rounds]

In each round each variant serves the site on this machine in turn, and SEVERAL visitors at once ask as fast as they can; at the
end it is as it was. A variant's figures are those of its best round, for another program's work makes a round only worse; the
processor's time for a request hardly depends on that. wrk has to be installed (`apt-get install wrk`).
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import docker

PROJECT = Path.home() / ".local/state/tandem/compose.yml"
CONTAINER = "tandem-django-1"
SITE = "http://127.0.0.1:8080"
PATHS = ["/", "/mysql"]
SEVERAL, SECONDS = 8, 4
VARIANTS = {  # gunicorn's arguments, and the seconds that a connection to MySQL is kept
    "sync, 1 worker": ("--workers=1", 60),
    "sync, 2 workers": ("--workers=2", 60),
    "the same, without persistent connections": ("--workers=2", 0),
    "sync, 4 workers": ("--workers=4", 60),
    "gthread, 1 worker of 4 threads": ("--workers=1 --threads=4", 60),
    "gthread, 2 workers of 2 threads": ("--workers=2 --threads=2", 60),
    "gthread, 2 workers of 4 threads": ("--workers=2 --threads=4", 60),
    "the same, without keep-alive": ("--workers=2 --threads=4 --keep-alive=0", 60),
}


def compose(*arguments, override=None):
    """Run a command of Compose on the site's project."""
    files = [f"--file={path}" for path in (PROJECT, override) if path]
    command = ["docker", "compose", f"--project-directory={PROJECT.parent}", "--project-name=tandem", *files, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def stats():
    """Return the seconds of the processor that gunicorn's container has taken, and the MiB of memory that it takes."""
    told = docker.from_env().containers.get(CONTAINER).stats(stream=False)
    return told["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, told["memory_stats"]["usage"] / 2**20


def ask(path, seconds):
    """Return the requests a second, their 99th percentile, the processor's milliseconds for one, and how many went wrong."""
    command = ["wrk", "--threads=1", f"--connections={SEVERAL}", f"--duration={seconds}s", "--latency", f"{SITE}{path}"]
    before = stats()[0]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count = int(re.search(r"(\d+) requests in", output)[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    rate, slowest = float(re.search(r"Requests/sec: +([\d.]+)", output)[1]), re.search(r"99% +(\S+)", output)[1]
    return rate, slowest, (stats()[0] - before) / count * 1000, int(bad[1]) if bad else 0


def table(title, variants, told, *more):
    """Print the best round of each variant, path by path, and further columns as their title and their cells by variant."""
    heads = [f"`{path}` a second | 99 % within | CPU each | failed" for path in PATHS] + [head for head, _ in more]
    print(f"| {title} | {' | '.join(heads)} |")
    print("|" + " --- |" * (4 * len(PATHS) + len(more) + 1))
    for name in variants:
        best = [max(told[name, path]) for path in PATHS]
        cells = [f"{rate:.0f} | {slowest} | {taken:.1f} ms | {bad}" for rate, slowest, taken, bad in best]
        print(f"| {name} | {' | '.join(cells + [column[name] for _, column in more])} |")


def main():
    """Measure all variants and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    told, memory = {}, {}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as override:
        try:
            for name, (arguments, kept) in list(VARIANTS.items()) * rounds:
                environment = {"GUNICORN_CMD_ARGS": arguments, "DATABASE_CONN_MAX_AGE": str(kept)}
                Path(override.name).write_text(json.dumps({"services": {"django": {"environment": environment}}}))
                compose("up", "--detach", "--wait", "--no-deps", "django", override=override.name)
                for path in PATHS:
                    ask(path, 1)  # until every worker is warm
                    told.setdefault((name, path), []).append(ask(path, SECONDS))
                memory[name] = stats()[1]
        finally:
            compose("up", "--detach", "--wait")
    table("workers", VARIANTS, told, ("memory", {name: f"{used:.0f} MiB" for name, used in memory.items()}))


if __name__ == "__main__":
    main()
