"""The demonstration cluster's refusals, before anything is touched, and its removal from whatever state, without a trace."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
NAME = "tandem-half"


def traces():
    """Return everything on this machine that bears the cluster's name, or that of its registry."""
    run = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True, check=True)
    processes = [line for line in run.stdout.splitlines() if f"/srv/{NAME}" in line and "ansible" not in line]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if NAME in line]
    places = ("/srv", "/run", "/var/lib", "/var/log", "/sys/class/net", "/sys/fs/cgroup", "/sys/fs/cgroup/*")
    return processes + mounts + [path for place in places for path in Path("/").glob(f"{place[1:]}/*{NAME}*")]


@pytest.fixture
def play(tmp_path):
    """Starts a playbook for a cluster of the test's own, which is removed in the end."""
    variables = {
        "demo_cluster_name": NAME,
        "demo_cluster_host_address": "198.18.0.9",
        "demo_cluster_node_address": "198.18.0.10",
        "demo_cluster_kubeconfig": str(tmp_path / "kubeconfig"),
        "registry_name": f"{NAME}-registry",
        "registry_port": 15002,
    }

    def play(playbook, environment=None, **more):
        command = [PLAYBOOK, f"playbooks/{playbook}-demo-cluster.yml", "--extra-vars", json.dumps(variables | more)]
        settings = {"cwd": ROOT, "env": os.environ | (environment or {}), "start_new_session": True, "text": True}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings)

    yield play
    play("remove").communicate()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"demo_cluster_minimum_memory": 10**9}, "The cluster needs 1000000000 MiB of memory"),
        ({"demo_cluster_minimum_disk": 10**9}, "1000000000 MiB of disk"),
        ({"demo_cluster_node_address": "127.0.0.1"}, "127.0.0.1 is in use on this machine, by lo"),
        ({"demo_cluster_name": "far-too-long-a-name"}, "it may have 15 lower-case letters, digits and hyphens"),
        ({"demo_cluster_directory": "/var/lib/cluster"}, "may not be below /var"),
    ],
)
def test_says_what_is_wrong_before_it_touches_anything(play, variables, sentence):
    run = play("create", **variables)
    said = " ".join(run.communicate()[0].split())
    assert run.returncode > 0
    assert sentence in said
    assert "changed=0" in said
    assert traces() == []


@pytest.mark.parametrize("task", ["Make certificates", "Link the node", "Start what the API is made of", "Start the kubelet"])
def test_half_made_cluster_is_removed_without_a_trace(play, task):
    run = play("create")
    for line in run.stdout:
        if task in line:
            time.sleep(1)
            os.killpg(run.pid, signal.SIGKILL)
            break
    else:
        pytest.fail(f"The playbook has no task {task}.")
    run.communicate()
    assert traces()

    assert play("remove").wait() == 0
    assert traces() == []
    output = play("remove").communicate()[0]
    assert re.search(r"changed=0 .*failed=0", output), output
