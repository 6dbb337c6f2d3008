"""Visitors of a site: wrk at a bounded rate, on kept-alive connections and on fresh ones, and what became of each request."""

import os
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")
LONGEST = 600  # seconds after which they leave by themselves


class Load:
    """Requests for one path, one after the other on each connection, with a pause of so many milliseconds before each."""

    def __init__(self, url, *headers, connections=5, pause=100):
        self.command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={LONGEST}s", "--timeout=30s"]
        self.command += [f"--script={SCRIPT}", *(f"--header={header}" for header in headers), url]
        self.environment = os.environ | {"PAUSE": str(pause)}
        self.counts = {}

    def __enter__(self):
        options = {"env": self.environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(self.command, **options)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        output = self.process.communicate(timeout=60)[0]
        assert "counted\terrors\tread" in output, f"wrk ended with {self.process.returncode}: {output}"
        lines = (line.split("\t")[1:] for line in output.splitlines() if line.startswith("counted\t"))
        for name, key, count in lines:
            self.counts.setdefault(name, Counter())[key] += int(count)

    def count(self, name):
        """Return what was counted under a name, by status, second or kind of error."""
        return {key: count for key, count in self.counts.get(name, {}).items() if count}

    @property
    def answers(self):
        """How many good answers there were."""
        return sum(self.count("good").values())

    @property
    def lost(self):
        """What became of the other requests, in words; nothing, where there are none."""
        statuses = {status: count for status, count in self.count("statuses").items() if status[0] != "2"}
        return ", ".join(f"{count} {what}" for what, count in (statuses | self.count("errors")).items())


class Visitors:
    """Some with kept-alive connections, and some with a new one for each request."""

    def __init__(self, url, **options):
        self.loads = {"kept-alive": Load(url, **options), "fresh": Load(url, "Connection: close", **options)}

    def __enter__(self):
        self.stack = ExitStack()
        for load in self.loads.values():
            self.stack.enter_context(load)
        time.sleep(1)  # steady before anything happens
        return self

    def __exit__(self, *_):
        time.sleep(1)  # and still there after it
        self.stack.close()

    @property
    def answers(self):
        """How many good answers they got, of each sort."""
        return {name: load.answers for name, load in self.loads.items()}

    @property
    def lost(self):
        """What became of the other requests, of each sort that has some."""
        return {name: load.lost for name, load in self.loads.items() if load.lost}

    @property
    def gap(self):
        """The longest time, in whole seconds, in which nobody got a good answer."""
        seconds = sorted(int(second) for load in self.loads.values() for second in load.count("good"))
        return max((after - before - 1 for before, after in pairwise(seconds)), default=0)
