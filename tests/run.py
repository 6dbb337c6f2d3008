#!/usr/bin/env python3
"""Run the tests, all of them or the parts that are named: ``tests/run.py mysql redis``, or ``make test ONLY="mysql redis"``.

Says what runs while it runs, prints all that a failing part wrote, goes on with the next one, and ends with a table and one
line. Everything that a part wrote is in .artifacts/logs, too, and the results are in .artifacts/junit, as Jenkins reads them.
"""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".artifacts" / "logs"
RESULTS = ROOT / ".artifacts" / "junit"
CACHE = Path.home() / ".cache" / "tandem"
BIN = Path(sys.executable).parent
PATIENCE = 30 * 60  # seconds for one command, so that nothing hangs for ever

ENVIRONMENT = os.environ | {
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "NO_COLOR": "1",
    "ANSIBLE_NOCOLOR": "1",
    "PYTHONUNBUFFERED": "1",
    "MOLECULE_COMMAND_BORDERS": "false",
    "MOLECULE_REPORT": "false",
}
# What a command writes that tells how far it is: molecule's steps, pytest's percentages.
STEP = re.compile(r"\[\w+ > (?P<step>\w+)\] Executing$|\[ *(?P<percent>\d+%)\]$")


def linters():
    """Return the linters, as name and command: all hooks of .pre-commit-config.yaml."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    return [(hook["id"], shlex.split(hook["entry"])) for repo in config["repos"] for hook in repo["hooks"]]


def pytest(module):
    """Return the commands that run one module of tests."""
    command = ["pytest", "--color=no", "--durations=10", f"--junitxml={RESULTS}/{module.stem}.xml"]
    return [("", [*command, str(module.relative_to(ROOT))])]


def molecule(scenario):
    """Return the commands that run one scenario; what all of them share is created before and destroyed after all."""
    return [("", ["molecule", "test", "--destroy=never", "--scenario-name", scenario])]


def table():
    """Return the parts in the order in which they run, as name and commands."""
    modules = {path.stem.removeprefix("test_").replace("_", "-"): path for path in sorted(ROOT.glob("tests/test_*.py"))}
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")} - {"default"}
    sharing = {name for name in scenarios if shares(name)}
    parts = {"lint": linters(), "contracts": pytest(modules.pop("contracts"))}
    # The one that harms the cluster comes before those that use it, the longest one last.
    parts |= {name: molecule(name) for name in sorted(sharing, key=lambda name: (name == "site", name != "demo_cluster", name))}
    parts |= {name: pytest(module) for name, module in modules.items()}
    return parts | {name: molecule(name) for name in sorted(scenarios - sharing)}


def is_scenario(part):
    """Tell whether a part is a scenario of molecule's."""
    return (ROOT / "molecule" / part).is_dir()


def shares(scenario):
    """Tell whether a scenario shares molecule's state with others, and so never runs beside one of them."""
    return yaml.safe_load((ROOT / "molecule" / scenario / "molecule.yml").read_text()).get("shared_state", True)


SET_UP = [
    # Of a run that was cut off; with its password gone, Ansible would not as much as begin.
    ("", ["rm", "--force", "molecule/inventory/group_vars/all/vault.yml"]),
    ("reset", ["molecule", "reset"]),
    ("", ["molecule", "create"]),
]
TIDY_UP = [("", ["molecule", "destroy"])]
WITHOUT_ENGINE = {"lint", "contracts", "helm", "vault"}


RUNNING = set()
STOPPED = threading.Event()
START = time.monotonic()


def say(name, what):
    """Tell how far a part is, with the time since the beginning."""
    print(f"{time.monotonic() - START:>5.0f} s  {name:<15} {what}", flush=True)


def run(name, command, log):
    """Run a part's command, tell its steps and write its output to a log; return the output and whether it went well."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timer = threading.Timer(PATIENCE, os.killpg, [process.pid, signal.SIGKILL])
    timer.start()
    RUNNING.add(process)
    lines = []
    for line in process.stdout:
        lines.append(line)
        log.write(line)
        if match := STEP.search(line.rstrip()):
            say(name, match["step"] or match["percent"])
    good = process.wait() == 0
    RUNNING.discard(process)
    timer.cancel()
    return "".join(lines), good


def run_part(name, commands):
    """Run a part to its end, print what its failing commands wrote, and return whether it passed and how long it took."""
    start = time.monotonic()
    failures = []
    with (LOGS / f"{name}.log").open("w") as log:
        for title, command in commands:
            if title:
                say(name, title)
            output, good = run(name, command, log)
            if not good:
                failures.append(f"$ {shlex.join(command)}\n{output}")
        if failures and is_scenario(name):  # which takes away what it made however it ended
            run(name, ["molecule", "cleanup", "--scenario-name", name], log)
    seconds = time.monotonic() - start
    say(name, f"{'FAILED' if failures else 'passed'} in {seconds:.0f} s")
    for failure in failures:
        print(f"\n{failure}", flush=True)
    return not failures, seconds


def run_lane(parts, results, done):
    """Run parts as they come, each after those that it needs, and note their results by name."""
    for name, commands in parts:
        needed = [other for other in needs(name) if other in done]
        for other in needed:
            done[other].wait()
        if "set-up" in needed and not results["set-up"][0]:
            results[name] = False, 0
        elif not STOPPED.is_set():
            results[name] = run_part(name, commands)
        results.setdefault(name, (False, 0))
        done[name].set()


def needs(name):
    """Return the parts that have to be over before this one begins."""
    if name in (*WITHOUT_ENGINE, "set-up"):
        return []
    # That one kills and restarts the cluster that these use.
    return ["set-up", "demo_cluster"] if name.startswith(("kubernetes", "jenkins", "push-images")) else ["set-up"]


def taken(take):
    """Yield what there is to take, until there is nothing more."""
    with suppress(IndexError):
        while True:
            yield take()


def run_all(parts):
    """Run the parts in two lanes, for a scenario seldom uses more than one processor; return their results by name."""
    if parts.keys() - WITHOUT_ENGINE:
        parts = {"set-up": SET_UP} | parts
    sharing = {name: commands for name, commands in parts.items() if name == "set-up" or (is_scenario(name) and shares(name))}
    others = deque((name, commands) for name, commands in parts.items() if name not in sharing)
    results, done = {}, {name: threading.Event() for name in parts}
    # What shares never runs two at once. When there is no more of it, its lane takes of the others, from the end.
    sources = [chain(sharing.items(), taken(others.pop)), taken(others.popleft)]
    lanes = [threading.Thread(target=run_lane, args=(source, results, done)) for source in sources]
    try:
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    except KeyboardInterrupt:
        STOPPED.set()
        for process in list(RUNNING):
            os.killpg(process.pid, signal.SIGINT)
        raise
    finally:
        for lane in lanes:
            lane.join()
        if "set-up" in parts:
            results["left-behind"] = run_part("left-behind", TIDY_UP)
    return results


@contextmanager
def alone():
    """Wait until no other tests use the engine and the cluster of this machine."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "tests.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Other tests run on this machine; waiting for them to end.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_results(results):
    """Write the parts' results as JUnit does, for Jenkins; the tests within a part of pytest's have a file of their own."""
    suite = ElementTree.Element("testsuite", name="parts", tests=f"{len(results)}")
    for name, (passed, seconds) in results.items():
        case = ElementTree.SubElement(suite, "testcase", classname="parts", name=name, time=f"{seconds:.0f}")
        if not passed:
            log = LOGS / f"{name}.log"
            said = log.read_text()[-20_000:] if log.exists() else "It did not run."
            ElementTree.SubElement(case, "failure").text = re.sub(r"[^\t\n -\uFFFD]", "", said)  # what XML cannot hold
    suite.set("failures", f"{len(suite.findall('*/failure'))}")
    ElementTree.ElementTree(suite).write(RESULTS / "parts.xml", encoding="unicode")


def main(names):
    """Run what is named, or everything; return the exit status."""
    parts = table()
    if unknown := sorted(set(names) - set(parts)):
        print(f"There is no part {', '.join(unknown)}. The parts are: {' '.join(parts)}", file=sys.stderr)
        return 2
    for folder in (LOGS, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    chosen = {name: commands for name, commands in parts.items() if name in (names or parts)}
    with alone() if chosen.keys() - WITHOUT_ENGINE else nullcontext():
        results = run_all(chosen)
    write_results(results)

    print(f"\n{'part':<15} {'':<6} seconds")
    for name, (passed, seconds) in results.items():
        print(f"{name:<15} {'passed' if passed else 'FAILED':<6} {seconds:>7.0f}")
    print(f"{'everything':<15} {'':<6} {time.monotonic() - START:>7.0f}\n")
    failed = sum(not passed for passed, _ in results.values())
    print(f"{len(results) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    for sign in (signal.SIGINT, signal.SIGTERM):  # whoever ends a job in the background sends the one, Jenkins the other
        signal.signal(sign, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; what ran was taken away again.")
