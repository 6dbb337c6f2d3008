"""The demonstration cluster as its user has it: kubectl, the administrator's kubeconfig, and workloads of the tests' own."""

import base64
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
KUBECTL = os.environ["KUBECTL"]
NODE = os.environ["NODE_ADDRESS"]
DIRECTORY = Path(os.environ["CLUSTER_DIRECTORY"])
IMAGE = os.environ["IMAGE"]
REGISTRY = IMAGE.split("/")[0]


def run(*arguments, given=None, kubeconfig=None):
    """Run kubectl in the workloads' namespace and return what came of it."""
    command = [KUBECTL, "--namespace=demo", *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)


def kubectl(*arguments, given=None):
    """Return what kubectl prints, which has to go well."""
    done = run(*arguments, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def field(resource, path):
    """Return a field of a resource."""
    return kubectl("get", resource, f"--output=jsonpath={{{path}}}")


def eventually(condition, within=90):
    """Return the first true answer of a condition; fail when there is none in so many seconds."""
    end = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {within} s; the pods:\n{run('get', 'pods').stdout}"
        time.sleep(0.5)
    return answer


@pytest.fixture(scope="session", autouse=True)
def workloads():
    """Starts everything at once, and takes it away in the end."""
    documents = yaml.safe_load((HERE / "files/workloads.yml").read_text().replace("$IMAGE", IMAGE))
    account = base64.b64encode(f"tests:{os.environ['REGISTRY_PASSWORD']}".encode()).decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "registry", "namespace": "demo"},
        "stringData": {".dockerconfigjson": json.dumps({"auths": {REGISTRY: {"auth": account}}})},
    }
    documents["items"].insert(1, secret)
    kubectl("apply", "--filename=-", given=json.dumps(documents))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    yield
    kubectl("delete", "namespace", "demo")
