"""Pushing to a registry with TLS and a password, over a line that breaks: what a user reads, and that going on is safe."""

import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
import requests
from cluster import MADE
from conftest import ROOT, docker, free_port
from programs import as_root

NAME = "tandem-push"
ADDRESS = MADE["demo_cluster_host_address"]  # of this machine alone; on loopback engines need no TLS
ACCOUNT = ("jenkins", "open-sesame")
TYPES = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
HALF_WAY = 3_000_000  # bytes
LITTLE = 200_000  # bytes, of questions and manifests


class Line:
    """A way to the registry that can break."""

    def __init__(self, port):
        self.port, self.sent, self.bound, self.ends = port, 0, None, []
        self.listener = socket.create_server((ADDRESS, 0))
        self.registry = f"{ADDRESS}:{self.listener.getsockname()[1]}"
        Thread(target=self.listen, daemon=True).start()

    @property
    def broken(self):
        return self.bound is not None and self.sent > self.bound

    def listen(self):
        with suppress(OSError):  # it is closed in the end
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection((ADDRESS, self.port))
                self.ends += near, far
                for source, target, counted in ((near, far, True), (far, near, False)):
                    Thread(target=self.pump, args=(source, target, counted), daemon=True).start()

    def pump(self, source, target, counted):
        with suppress(OSError):  # the other direction was quicker
            while not self.broken and (data := source.recv(65536)):
                self.sent += counted * len(data)
                target.sendall(data)
        for end in self.ends if self.broken else (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Registry:
    """The project's own, with TLS and a password; without a certificate authority, it vouches for itself."""

    def __init__(self, folder):
        self.port = free_port()
        self.name = f"{ADDRESS}:{self.port}"
        self.certificate, key = folder / "tls.crt", folder / "tls.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"]
        command += ["-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{ADDRESS}", "-keyout", key, "-out", self.certificate]
        subprocess.run(command, check=True, capture_output=True)
        self.variables = {
            "registry_name": NAME,
            "registry_port": self.port,
            "registry_addresses": [ADDRESS],
            "registry_users": dict([ACCOUNT]),
            "registry_certificate": str(self.certificate),
            "registry_key": str(key),
        }

    def role(self, entry):
        """Run the role."""
        ansible = Path(sys.executable).with_name("ansible")
        module = ["--module-name=include_role", f"--args=name=registry tasks_from={entry}"]
        command = [ansible, "localhost", *module, f"--extra-vars={json.dumps(self.variables)}"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout

    def get(self, path):
        """Ask it."""
        url = f"https://{self.name}/v2/tandem/static/{path}"
        answer = requests.get(url, headers={"Accept": TYPES}, auth=ACCOUNT, verify=self.certificate, timeout=60)
        answer.raise_for_status()
        return answer

    def digest(self, tag):
        """Return what it has by a tag."""
        return self.get(f"manifests/{tag}").headers["Docker-Content-Digest"]

    def tags(self):
        """Return all of its tags."""
        return set(self.get("tags/list").json()["tags"])


def forget(*hosts):
    """Remove what the engine knows of registries: their images' names, and who vouches for them."""
    for line in docker("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if line.startswith(tuple(hosts)):
            docker("rmi", "--force", line)
    for host in hosts:
        as_root("file", f"path=/etc/docker/certs.d/{host} state=absent")


@pytest.fixture(scope="module")
def registry(alone, tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.role("remove")  # what a run that was killed has left
    registry.role("main")
    yield registry
    registry.role("remove")


@pytest.fixture(scope="module")
def line(registry):
    line = Line(registry.port)
    yield line
    line.listener.close()
    forget(line.registry, registry.name)


@pytest.fixture(scope="module")
def site(line, new_site):
    elsewhere = {"mysql_host": "mysql.example.com", "redis_enabled": False, "memcached_enabled": False}
    site = new_site("push", image_push_tags=["one"], **elsewhere)
    site.environment |= {"IMAGE_PUSH_USERNAME": ACCOUNT[0], "IMAGE_PUSH_PASSWORD": ACCOUNT[1]}
    return site


@pytest.fixture(scope="module")
def over_the_line(line, registry):
    """The variables that lead over the line."""
    return {"image_push_registry": line.registry, "image_registry_ca": str(registry.certificate)}


@pytest.fixture(scope="module")
def broken(site, line, over_the_line):
    """A push over a line that breaks half-way. The engine tries it for a minute, in which others have their turn."""
    line.bound = HALF_WAY
    return site.start("push-images", "-vvv", **over_the_line)


def test_no_registry_and_no_certificate(site):
    play = site.start("push-images").failed()
    assert "image_push_registry is empty: name the registry that the images are pushed to." in play.said
    assert play.changed == 0
    play = site.start("push-images", image_push_registry="registry.example.com", image_registry_ca="/etc/ours.crt").failed()
    assert "There is no file /etc/ours.crt, which image_registry_ca names: put the certificates there that vouch" in play.said
    assert play.changed == 0


def test_a_certificate_that_nobody_vouches_for(site, registry, broken):
    play = site.start("push-images", image_push_registry=registry.name).failed()
    assert (
        f"The registry {registry.name}, which image_push_registry names, did not take the images: nobody whom the engine trusts "
        "vouches for its certificate, so name a file with who does in image_registry_ca. What it has already is not pushed again"
    ) in play.said
    pull = {"image_registry": registry.name, "image_source": "pull", "memcached_enabled": True, "image_push_tags": []}
    play = site.start("build-images", **pull).failed()
    assert f"The registry did not deliver {registry.name}/library/memcached:" in play.said
    assert "nobody whom the engine trusts vouches for its certificate" in play.said


def test_a_wrong_password(site, registry, broken):
    variables = {"image_push_registry": registry.name, "image_registry_ca": str(registry.certificate)}
    play = site.start("push-images", "-vvv", **variables, image_push_password="guessed").failed()
    assert "did not take the images: it does not accept image_push_username and its password. What it has" in play.said
    assert "guessed" not in play.output.partition("TASK")[2]


def test_a_line_that_breaks_half_way(site, registry, line, broken):
    said = broken.failed().said
    assert f"The registry {line.registry}, which image_push_registry names, did not take the images: the connection broke" in said
    assert "What it has already is not pushed again: mend the reason, then run this again. The engine says:" in said
    assert ACCOUNT[1] not in said
    assert line.broken
    with pytest.raises(requests.HTTPError, match="404"):
        registry.tags()


def test_and_pushed_again(site, registry, line, broken, over_the_line):
    broken.end()
    line.bound = None
    site.start("push-images", **over_the_line).succeeded()
    [named] = registry.tags() - {"one"}
    assert registry.digest("one") == registry.digest(named)
    layers = registry.get("manifests/one").json()["layers"]
    assert sum(layer["size"] for layer in layers) > HALF_WAY
    for layer in layers:
        assert len(registry.get(f"blobs/{layer['digest']}").content) == layer["size"]


def test_what_is_there_is_not_pushed_again(site, registry, line, over_the_line):
    before, sent = registry.tags(), line.sent
    assert site.start("push-images", **over_the_line).succeeded().changed == 0
    assert site.start("push-images", **over_the_line, image_push_tags=["one", "two"]).succeeded().changed > 0
    assert line.sent - sent < LITTLE
    assert registry.tags() - before == {"two"}
    assert registry.digest("two") == registry.digest("one")
    assert not docker("images", "--quiet", f"{line.registry}/tandem/static:two")


def test_a_tag_that_stood_for_another_image(site, registry, line, over_the_line, tmp_path):
    another = f"{line.registry}/tandem/static:one"
    subprocess.run(["docker", "import", "-", another], input=bytes(1024), check=True, capture_output=True)
    configuration = ["--config", str(tmp_path)]
    login = ["docker", *configuration, "login", "--username", ACCOUNT[0], "--password-stdin", line.registry]
    subprocess.run(login, input=ACCOUNT[1], text=True, check=True, capture_output=True)
    docker(*configuration, "push", "--quiet", another)
    docker("rmi", another)
    assert registry.digest("one") != registry.digest("two")
    site.start("push-images", **over_the_line).succeeded()
    assert registry.digest("one") == registry.digest("two")
