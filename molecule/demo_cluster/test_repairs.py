"""What the cluster's playbook mends: nothing where nothing is broken, and all of it after the machine was restarted."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from conftest import DIRECTORY, HERE, eventually, kubectl, run

CREATE = [
    Path(sys.executable).with_name("ansible-playbook"),
    f"--inventory={os.environ['INVENTORY']}",
    HERE.parents[1] / "playbooks/create-demo-cluster.yml",
]


def changes():
    """Create the cluster again and return the number of changes."""
    done = subprocess.run(CREATE, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"changed=(\d+)", done.stdout)[1])


def pids(*words):
    """Return the processes whose command lines hold all of these words."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(process.name))
    return found


def test_killed_components_are_started_again():
    names = ["containerd", "kube-scheduler", "coredns"]  # of a stage each
    for name in names:
        for pid in pids(f"/{name} ", str(DIRECTORY)):
            os.kill(pid, signal.SIGKILL)
    assert changes() == len(names)
    assert all(pids(f"/{name} ", str(DIRECTORY)) for name in names)
    assert changes() == 0


def test_comes_back_with_its_data_after_a_restart_of_the_machine():
    kubectl("rollout", "status", "statefulset/store", "--timeout=60s")
    starts = kubectl("exec", "store-0", "--", "cat", "/data/starts")
    first = int((DIRECTORY / "node.pid").read_text())
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{first}").exists())
    for pid in pids("docker-registry", os.environ["REGISTRY_DIRECTORY"]):
        os.kill(pid, signal.SIGKILL)
    for folder in sorted(Path("/sys/fs/cgroup").glob(f"**/{DIRECTORY.name}/**/"), reverse=True):
        folder.rmdir()
    eventually(lambda: not (Path("/sys/class/net") / DIRECTORY.name).exists())

    assert changes() > 0
    again = eventually(lambda: run("exec", "store-0", "--", "cat", "/data/starts").stdout.split())
    assert again[0] == starts.split()[0]
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert changes() == 0
