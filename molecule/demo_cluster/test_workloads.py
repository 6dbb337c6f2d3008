"""What a user of the demonstration cluster sees of real workloads."""

import http.server
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import DIRECTORY, IMAGE, KUBECTL, NODE, eventually, field, kubectl, run


def ping(address, port):
    """Return what Redis answers to a greeting."""
    with socket.create_connection((address, port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(100)


def test_image_is_pulled_with_its_secret_and_not_without():
    reason = ".status.containerStatuses[0].state.waiting.reason"
    assert eventually(lambda: field("pod/stranger", reason) in ("ErrImagePull", "ImagePullBackOff"))
    assert field("deployment/web", ".status.readyReplicas") == "1"


def test_job_finds_a_service_by_name():
    kubectl("wait", "--for=condition=complete", "job/once", "--timeout=60s")
    assert kubectl("logs", "job/once").endswith("PONG")


def test_service_and_node_port_answer():
    assert kubectl("exec", "deployment/web", "--", "redis-cli", "-h", "web", "PING") == "PONG"
    assert ping(NODE, 30379) == b"+PONG\r\n"


def test_logs():
    assert "Ready to accept connections" in kubectl("logs", "deployment/web")


def test_port_forward():
    with subprocess.Popen(
        [KUBECTL, "--namespace=demo", "port-forward", "service/web", ":6379"], stdout=subprocess.PIPE, text=True
    ) as forward:
        port = int(forward.stdout.readline().split("->")[0].rsplit(":")[-1])
        assert ping("127.0.0.1", port) == b"+PONG\r\n"
        forward.terminate()


def test_top_knows_nodes_and_pods():
    assert "%" in kubectl("top", "node", "--no-headers")
    assert "busy" in eventually(lambda: run("top", "pod", "--selector=app=busy", "--no-headers").stdout)


def test_volume_survives_its_pod_and_belongs_to_the_fs_group():
    kubectl("rollout", "status", "statefulset/store", "--timeout=60s")
    starts = kubectl("exec", "store-0", "--", "cat", "/data/starts").split()
    assert kubectl("exec", "store-0", "--", "stat", "--format=%g", "/data", "/data/starts").split() == ["2000", "2000"]
    kubectl("delete", "pod", "store-0")
    kubectl("rollout", "status", "statefulset/store", "--timeout=60s")
    again = eventually(lambda: run("exec", "store-0", "--", "cat", "/data/starts").stdout.split())
    assert again == [*starts, again[-1]]


def test_budget_refuses_an_eviction():
    pod = field("pods", ".items[?(@.metadata.labels.app=='web')].metadata.name")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "demo"}}
    eventually(lambda: field("pdb/web", ".status.currentHealthy") == "1")
    refused = run("create", f"--raw=/api/v1/namespaces/demo/pods/{pod}/eviction", "--filename=-", given=json.dumps(eviction))
    assert "disruption budget" in refused.stderr


def test_pod_security_refuses_a_privileged_pod():
    refused = run("run", "bad", f"--image={IMAGE}", "--privileged")
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_autoscaler_adds_a_replica():
    eventually(lambda: field("deployment/busy", ".spec.replicas") == "2")


def test_cron_job_ticks():
    assert eventually(lambda: field("cronjob/often", ".status.lastSuccessfulTime"), within=100)


def test_pods_reach_what_this_machine_reaches():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))  # sends nothing; tells which address is used towards the outside
        outside = probe.getsockname()[0]
    with http.server.HTTPServer((outside, 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        talk = f"exec 3<>/dev/tcp/{outside}/{server.server_port} && echo hello >&3 && head -c 4 <&3"
        assert kubectl("exec", "deployment/web", "--", "bash", "-c", talk)
        server.shutdown()


@pytest.mark.parametrize("user", ["kubelet", "kube-proxy", "coredns", "metrics-server", "local-path-provisioner", "scheduler"])
def test_components_are_not_the_administrator(user):
    kubeconfig = DIRECTORY / "users" / f"{user}.conf"
    for right in (["delete", "deployments"], ["get", "secrets"], ["create", "pods", "--subresource=exec"]):
        assert run("auth", "can-i", *right, kubeconfig=kubeconfig).stdout.startswith("no")


def test_keys_and_kubeconfigs_are_roots_alone():
    folders = [DIRECTORY / "users", DIRECTORY / "pki"]
    files = [Path(os.environ["KUBECONFIG"]), *folders, *(path for folder in folders for path in folder.rglob("*"))]
    assert len(files) > 20
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
