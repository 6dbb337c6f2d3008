"""What a user reads whose cluster, account or variables are not as they have to be; nothing is touched before that is known."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import certifi
import pytest
import yaml
from cluster import ClusterSite
from conftest import eventually


@pytest.fixture(scope="module")
def site(alone, tmp_path_factory):
    """A namespace that is prepared, and nothing in it."""
    with ClusterSite(tmp_path_factory.mktemp("cluster-input"), "tandem-cluster-input", 30091) as site:
        site.prepare()
        yield site


@pytest.fixture
def administrator(site):
    """The variables by which the administrator's account deploys."""
    return {name: site.variables[f"kubernetes_admin_{name[11:]}"] for name in ("kubernetes_kubeconfig", "kubernetes_context")}


@pytest.fixture
def kubeconfig(site, tmp_path):
    """The deploy account's kubeconfig with something else in it, as a variable."""

    def change(part, whose="", **fields):
        config = yaml.safe_load(site.kubeconfig.read_text())
        config[f"{part}s"][0][part] |= fields
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return {f"kubernetes_{whose}kubeconfig": str(path)}

    return change


@pytest.fixture
def cluster_but(site, kubeconfig):
    """A way to the cluster, as the administrator sees it, on which one of its answers is changed."""
    servers = []

    def start(path, change):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                answer = site.cluster.ask(url.path, parse_qsl(url.query))
                if url.path.rstrip("/") == path:
                    change(answer)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_):
                """Be quiet."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return kubeconfig("cluster", server=f"http://127.0.0.1:{servers[-1].server_port}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def refused(site, play):
    """Return what a play said that was refused before it touched anything."""
    said = play.failed().said
    assert "Traceback" not in said
    assert play.changed == 0
    assert not site.vault.exists()
    assert site.versions() == {}
    return said


def test_preparing_again_changes_nothing(site):
    before = site.kubeconfig.read_bytes()
    play = site.prepare()
    assert play.changed == 0
    assert site.kubeconfig.read_bytes() == before
    assert f"The namespace {site.instance} is ready." in play.said
    assert f"kubeconfig is {site.kubeconfig}: deploy-site needs nothing else." in play.said
    token = base64.b64decode(site.see("Secret", "deployer")["data"]["token"]).decode()
    assert token in before.decode()
    assert token not in play.output


def test_no_kubeconfig(site, tmp_path):
    said = refused(site, site.deploy(kubernetes_kubeconfig=f"{tmp_path}/none"))
    assert f"There is no kubeconfig {tmp_path}/none, which kubernetes_kubeconfig names: prepare-namespace.yml writes it" in said
    said = refused(site, site.start("prepare-namespace", kubernetes_admin_kubeconfig=f"{tmp_path}/none"))
    assert f"There is no kubeconfig {tmp_path}/none, which kubernetes_admin_kubeconfig names: put a cluster on this" in said


def test_a_kubeconfig_that_is_none(site, tmp_path):
    for text in ("", "a line", "contexts: [", "contexts:"):
        (tmp_path / "config").write_text(text)
        said = refused(site, site.start("remove-site", kubernetes_kubeconfig=f"{tmp_path}/config"))
        assert f"{tmp_path}/config, which kubernetes_kubeconfig names, is no kubeconfig: it has no contexts." in said


@pytest.mark.parametrize(("context", "called"), [("", "not set"), ("another", "another")])
def test_a_context_that_is_not_named(site, context, called):
    said = refused(site, site.deploy(kubernetes_context=context))
    assert f"kubernetes_context is {called}: name one of the contexts of {site.kubeconfig}, which are tests." in said


def test_a_cluster_that_does_not_answer(site, kubeconfig):
    said = refused(site, site.deploy(**kubeconfig("cluster", server="https://127.0.0.1:1")))
    assert "The cluster of context tests in " in said
    assert "cannot be used: the connection is refused. Nothing was touched." in said
    assert len(said) < 10_000


@pytest.fixture(scope="module")
def expired(site):
    """A token that let one in until its account was deleted, since when it does not, as after its time."""
    site.cluster.create("ServiceAccount", "former", site.instance)
    token = site.cluster.token("former", site.instance)
    assert site.cluster.accepts(token)
    site.cluster.delete("ServiceAccount", "former", site.instance)
    eventually(lambda: not site.cluster.accepts(token))
    return token


@pytest.mark.parametrize("playbook", ["deploy-site", "remove-site"])
def test_credentials_that_have_expired(site, kubeconfig, expired, playbook):
    play = site.start(playbook, **kubeconfig("user", token=expired))
    said = refused(site, play)
    assert (
        "cannot be used: it does not accept the credentials: they are wrong, or they have expired. Nothing was touched." in said
    )
    assert expired not in play.output


def test_an_authority_that_did_not_sign(site, kubeconfig):
    another = base64.b64encode(Path(certifi.where()).read_bytes()).decode()
    play = site.deploy(**kubeconfig("cluster", **{"certificate-authority-data": another}))
    assert "its certificate is not signed by the authority in the kubeconfig. Nothing was touched." in refused(site, play)


def test_a_namespace_that_was_not_prepared(site, administrator):
    said = refused(site, site.deploy(kubernetes_namespace="nowhere", **administrator))
    assert f"There is no namespace nowhere in {site.cluster.context}: a cluster administrator makes it, once, with" in said
    assert "`ansible-playbook -i inventories/production playbooks/prepare-namespace.yml`" in said
    said = refused(site, site.deploy(kubernetes_namespace="nowhere"))
    assert 'its account may not look there: configmaps is forbidden: User "system:serviceaccount:' in said
    assert "an administrator says with playbooks/prepare-namespace.yml, for kubernetes_namespace, which is nowhere." in said


def test_an_account_that_may_not_prepare(site, kubeconfig):
    access = {"kubernetes_admin_kubeconfig": str(site.kubeconfig), "kubernetes_admin_context": "tests"}
    said = refused(site, site.start("prepare-namespace", kubernetes_namespace="nowhere", **access))
    assert "The namespace nowhere could not be made with the context tests, which kubernetes_admin_context names: " in said
    assert 'namespaces "nowhere" is forbidden: User ' in said
    assert "That takes an account that may administer the cluster." in said
    said = refused(
        site, site.start("prepare-namespace", **access | kubeconfig("cluster", "admin_", server="https://127.0.0.1:1"))
    )
    assert "refused" in said.partition("names: ")[2]


def test_what_the_storage_lacks(site, administrator, cluster_but):
    names = ", ".join(sorted(item["metadata"]["name"] for item in site.cluster.all("StorageClass")))
    said = refused(site, site.deploy(kubernetes_storage_class="fast", **administrator))
    assert f"There is no StorageClass fast, which kubernetes_storage_class names: the cluster has {names}." in said

    def unmark(answer):
        for item in answer["items"]:
            item["metadata"].pop("annotations", None)

    said = refused(site, site.deploy(**cluster_but("/apis/storage.k8s.io/v1/storageclasses", unmark)))
    assert f"There is no default StorageClass: name one with kubernetes_storage_class; the cluster has {names}." in said


def test_no_metrics_server(site, cluster_but):
    def leave_out(answer):
        answer["groups"] = [group for group in answer["groups"] if group["name"] != "metrics.k8s.io"]

    said = refused(site, site.deploy(**cluster_but("/apis", leave_out)))
    assert "There is no metrics-server, without which an autoscaler does not know the CPU: have one installed" in said


def test_a_look_at_what_would_be_made(site, administrator):
    play = site.deploy("--check", "--diff", kubernetes_namespace="nowhere", **administrator).succeeded()
    assert "+kind: StatefulSet" in play.output
    assert "+kind: HorizontalPodAutoscaler" in play.output
    assert "+  django_secret_key: (not shown)" in play.output
    assert "managedFields" not in play.output
    assert not site.cluster.get("Namespace", "nowhere")
    assert not site.vault.exists()
