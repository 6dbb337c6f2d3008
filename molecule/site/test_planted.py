"""Uses the site, its errors and its admin, and then looks for the planted secrets wherever somebody could come across one."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import requests
import yaml

URL, PLATFORM, INSTANCE = os.environ["SITE_URL"], os.environ["PLATFORM"], os.environ["INSTANCE"]
CHECKOUT, PROJECT = Path(os.environ["CHECKOUT"]), Path(os.environ["PROJECT"])
FILE = Path(os.environ["PLANTED"])
PLANTED = json.loads(FILE.read_text())
BIN = Path(sys.executable).parent
READ = "for file in /run/secrets/stripe_*; do cat $file; echo; done"
DUMP = "MYSQL_PWD=$(cat /run/secrets/mysql_root_password) mysqldump --user=root --all-databases"
ASK = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"


def run(*command):
    """Return what a command prints, on both of its outputs."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout


def vault():
    """Return all values of the vault."""
    return yaml.safe_load(subprocess.check_output([BIN / "ansible-vault", "view", os.environ["VAULT"]]))


SECRETS = [*PLANTED.values(), *(value for value in vault().values() if value)]


class Compose:
    """The site's containers."""

    meant = frozenset({"the owner"})

    def inside(self, service, *command):
        return run("docker", "exec", f"{INSTANCE}-{service}-1", *command)

    def everywhere(self):
        """Yield the places of a platform, and what is to be seen there."""
        containers = run("docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={INSTANCE}").decode()
        yield "docker inspect", run("docker", "inspect", *containers.split())
        for container in containers.split():
            yield f"the log of {container}", run("docker", "logs", container)
        files = [path for path in PROJECT.rglob("*") if path.is_file() and path.parent.name != "secrets"]
        assert len(files) > 4
        yield from ((str(path), path.read_bytes()) for path in files)
        for service in ("django", "nginx", "localstripe"):
            image = run("docker", "inspect", "--format", "{{.Config.Image}}", f"{INSTANCE}-{service}-1").decode().strip()
            yield f"the history of {image}", run("docker", "history", "--no-trunc", image)
            yield f"the layers of {image}", run("docker", "save", image)

    def allowed(self):
        """Return the one place where the secrets are meant to be, besides the file in Django's container."""
        return {name: (PROJECT / "secrets" / name).read_text() for name in PLANTED}

    def readers(self):
        """Return who may read them there."""
        mode = (PROJECT / "secrets").stat().st_mode
        return {who for who, bit in {"the owner": 0o400, "the group": 0o040, "others": 0o004}.items() if mode & bit}


class Kubernetes:
    """The site's pods."""

    meant = frozenset({("deployer", "get"), ("deployer", "list"), ("the kubelet", "get")})  # which needs to know its name
    kubectl = (os.environ["KUBECTL"], f"--kubeconfig={os.environ['KUBECONFIG']}", f"--namespace={INSTANCE}")

    def inside(self, service, *command):
        workload = "deployment" if service in ("django", "nginx", "localstripe") else "statefulset"
        return run(*self.kubectl, "exec", f"{workload}/{service}", "--", *command)

    def everywhere(self):
        """Yield the places of a platform, and what is to be seen there."""
        kinds = (
            "pods,configmaps,deployments,replicasets,statefulsets,jobs,events,services,networkpolicies,horizontalpodautoscalers"
        )
        yield "the objects", run(*self.kubectl, "get", kinds, "--output=json", "--show-managed-fields")
        yield "their descriptions", run(*self.kubectl, "describe", "pods")
        for pod in run(*self.kubectl, "get", "pods", "--output=name").decode().split():
            yield f"the log of {pod}", run(*self.kubectl, "logs", pod, "--all-containers")

    def get(self, kind):
        """Return all objects of a kind."""
        return json.loads(run(*self.kubectl, "get", kind, "--output=json"))["items"]

    def secret(self):
        """Return the Secret that the pods have."""
        holders = [item for item in self.get("secrets") if "stripe_secret_key" in (item.get("data") or {})]
        return max(holders, key=lambda item: item["metadata"]["creationTimestamp"])

    def allowed(self):
        """Return the one place where the secrets are meant to be, besides the file in Django's pods."""
        return {name: base64.b64decode(text).decode() for name, text in self.secret()["data"].items()}

    def readers(self):
        """Return who may read it, of all identities that there are in the namespace, and how."""
        node = self.get("pods")[0]["spec"]["nodeName"]
        accounts = [account["metadata"]["name"] for account in self.get("serviceaccounts")]
        identities = {name: [f"--as=system:serviceaccount:{INSTANCE}:{name}"] for name in accounts}
        identities["somebody"] = ["--as=somebody", "--as-group=system:authenticated"]
        identities["the kubelet"] = [f"--as=system:node:{node}", "--as-group=system:nodes"]
        assert {"default", "deployer"} <= identities.keys()
        questions = [("get", f"secrets/{self.secret()['metadata']['name']}"), ("list", "secrets")]
        asked = {(who, what[0]): (*what, *identity) for who, identity in identities.items() for what in questions}
        said = {key: run(*self.kubectl, "auth", "can-i", *words).splitlines()[-1] for key, words in asked.items()}
        answers = {key: line.split()[0] for key, line in said.items()}  # and why
        assert set(answers.values()) == {b"yes", b"no"}
        return {key for key, answer in answers.items() if answer == b"yes"}


PLATFORMS = {"compose": Compose, "kubernetes": Kubernetes}


@pytest.fixture(scope="module")
def platform():
    return PLATFORMS[PLATFORM]()


@pytest.fixture(scope="module")
def pages(platform):
    """What the site answered to everything that it can be asked."""
    session = requests.Session()
    answers = []

    def ask(path, method="GET", **settings):
        answers.append((path, session.request(method, URL + path, timeout=30, **settings)))
        return answers[-1][1]

    def fill_in(path, **fields):
        fields["csrfmiddlewaretoken"] = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', ask(path).text)[1]
        return ask(path, "POST", data=fields, headers={"Referer": URL + path})

    paths = [
        "/",
        "/mysql",
        "/redis",
        "/memcached",
        "/stripe-test",
        "/healthz",
        "/readyz",
        "/metrics",
        "/nowhere",
        "/admin/login/",
    ]
    for path in paths:
        for accept in ("*/*", "text/html", "application/json"):
            ask(path, headers={"Accept": accept})
    ask("/", headers={"Host": "elsewhere.example"})
    ask("/stripe-test", "POST")
    hook = re.search(rb"STRIPE_WEBHOOK_ID=(\S+)", platform.inside("django", "env"))[1].decode()
    for body in ("{}", "x" * 300_000):
        ask(f"/stripe/webhook/{hook}/", "POST", data=body, headers={"Stripe-Signature": "t=1,v1=0"})
    session.headers["Accept"] = "text/html"
    fill_in("/admin/login/", username="admin", password=vault()["vault_django_superuser_password"])
    page = fill_in("/stripe-test/round-trip").url.removeprefix(URL)
    end = time.monotonic() + 60
    while not ask(page, headers={"Accept": "application/json"}).json()["done"]:
        assert time.monotonic() < end, "no event came back"
        time.sleep(0.5)
    index = ask("/admin/").text
    for models in set(re.findall(r'href="(/admin/\w+/\w+/)"', index)):
        for item in re.findall(rf'href="({models}\d+/change/)', ask(models).text)[:2]:
            ask(item)
    return answers


def found(text, secrets=SECRETS):
    """Return the secrets that are in a text, as they are or as base64 would show them."""
    text = text if isinstance(text, bytes) else text.encode()
    forms = {secret: (secret.encode(), base64.b64encode(secret.encode())[:-4]) for secret in secrets}
    return [secret for secret, looks in forms.items() if any(look in text for look in looks)]


def test_the_pages_work_and_tell_no_secret(pages):
    statuses = {response.status_code for _, response in pages}
    assert {200, 400, 403, 404, 413} <= statuses
    assert not {500, 502, 503} & statuses, [path for path, response in pages if response.status_code >= 500]
    assert any("/admin/djstripe/event/" in path and "/change/" in path for path, _ in pages)
    assert [path for path, response in pages if found(response.text) or found(str(response.headers))] == []


def test_secrets_are_where_they_are_meant_to_be(platform):
    assert platform.allowed() == PLANTED
    assert sorted(platform.inside("django", "sh", "-c", READ).decode().split()) == sorted(PLANTED.values())
    for service in ("mysql", "redis", "memcached", "localstripe", "nginx"):
        assert not found(platform.inside(service, "sh", "-c", READ))
    assert platform.readers() == platform.meant


def test_and_nowhere_else(platform, pages):
    log = FILE.with_name(f"{FILE.name}.log").read_text()
    assert "TASK [" in log
    dump = platform.inside("mysql", "sh", "-c", DUMP)
    for table in (b"apikey", b"webhookendpoint"):
        assert re.search(rb"INSERT INTO `djstripe_%s` .*sealed:" % table, dump), table
    processes = chain.from_iterable(path.glob(name) for path in Path("/proc").glob("[0-9]*") for name in ("cmdline", "environ"))
    places = {
        "Ansible's output": log,
        "the database": dump,
        "the metrics": platform.inside("django", "python", "-c", ASK),
        "the history": run("git", "-C", CHECKOUT, "log", "--all", "--patch"),
    }
    assert b"django_http_requests_total" in places["the metrics"]
    # Of all processes of this machine: the tests' own hand passwords to browsers and clients.
    assert found(b"\0".join(map(contents, processes)), PLANTED.values()) == []
    for place, text in chain(places.items(), platform.everywhere()):
        assert text or place.startswith("the log of"), place  # Memcached has nothing to say
        assert found(text) == [], place


def contents(path):
    """Return a process's file; nothing, where the process has ended meanwhile."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
