"""The official images from a registry that asks for a password, and one that stops answering half-way."""

import subprocess
from pathlib import Path

import pytest
import requests
import yaml
from conftest import ROOT, docker, eventually, free_port
from programs import install

USERNAME, PASSWORD = "puller", "open-sesame"
HTPASSWD = f"{USERNAME}:$2b$05$AbCdEfGhIjKlMnOpQrStUuQnnLLJ.gSJXdkSyvIM1n799PfRiMO7u\n"  # that password, by bcrypt
IMAGES = {"mysql": "mysql_image", "redis": "redis_image", "memcached": "memcached_image"}
BASES = {"nginx": "nginx_image", "django": "django_base_image"}


def official(role, variable):
    """Return the official image that a role names."""
    return yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())[variable]


def here(image):
    """Return the id of an official image on this machine, or else of its newest equivalent; nothing, where neither is here."""
    equivalent = f"tandem/{image.rpartition('/')[2].partition(':')[0]}"
    return next(iter(docker("images", "--quiet", image).split() + docker("images", "--quiet", equivalent).split()), "")


class Registry:
    """A registry on loopback, which engines trust without TLS."""

    def __init__(self, folder):
        self.address = f"127.0.0.1:{free_port()}"
        self.folder = folder
        (folder / "htpasswd").write_text(HTPASSWD)
        configuration = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(Path.home() / ".cache/tandem/registry")}},
            "http": {"addr": self.address},
            "auth": {"htpasswd": {"realm": "tandem", "path": str(folder / "htpasswd")}},
        }
        (folder / "config.yml").write_text(yaml.safe_dump(configuration))

    def name(self, image):
        """Return the name of one of docker.io's images here."""
        return image.replace("docker.io", self.address)

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", self.folder / "config.yml"], stdout=log, stderr=log)
        eventually(self.answers)

    def answers(self):
        try:
            return requests.get(f"http://{self.address}/v2/", timeout=5, auth=(USERNAME, PASSWORD)).ok
        except requests.ConnectionError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def fill(self):
        """Push what stands in for the official images; what an earlier run has pushed takes no time."""
        configuration = ["--config", str(self.folder / "docker")]
        login = ["docker", *configuration, "login", "--username", USERNAME, "--password-stdin", self.address]
        subprocess.run(login, input=PASSWORD, text=True, check=True, capture_output=True)
        for role, variable in (IMAGES | BASES).items():
            image = official(role, variable)
            docker("tag", here(image), self.name(image))
            docker(*configuration, "push", "--quiet", self.name(image))
            docker("rmi", self.name(image))

    def images(self):
        """Return the names of the images that the engine has from here, or would push here."""
        return docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={self.address}/*/*").split()

    def forget(self):
        """Remove them."""
        for name in self.images():
            docker("rmi", "--force", name)


@pytest.fixture(scope="module")
def registry(alone, tmp_path_factory):
    install("docker-registry", "/usr/bin/docker-registry")
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.forget()  # what a run that was killed has left
    registry.start()
    yield registry
    registry.kill()
    registry.forget()


@pytest.fixture(scope="module")
def site(registry, new_site):  # in this order: the containers go before their images
    site = new_site("pulled", image_registry=registry.address, image_registry_username=USERNAME)
    (site.folder / "tmp").mkdir()
    site.environment["TMPDIR"] = str(site.folder / "tmp")
    if not all(here(official(role, variable)) for role, variable in (IMAGES | BASES).items()):
        site.start("build-images", image_registry="", image_registry_username="").succeeded()
    registry.fill()
    return site


def test_a_wrong_password(site):
    play = site.deploy("-vvv", image_registry_password="guessed").failed()
    assert (
        f"The registry {site.variables['image_registry']} did not let this machine in: it does not accept "
        "image_registry_username and its password. Run again to go on"
    ) in play.said
    assert "guessed" not in play.output.partition("TASK")[2]
    assert not any(site.remains().values())


def test_a_registry_that_stops_half_way(site, registry):
    play = site.deploy(image_registry_password=PASSWORD)
    play.until(registry.images)
    registry.kill()
    said = play.failed().said
    assert f"The registry did not deliver {registry.address}/library/" in said
    assert "Run again to go on from here, or with -e image_source=build to build equivalents from Debian packages." in said
    assert "connection refused" in said
    assert not any(site.remains().values())
    assert not site.project.exists()


def test_and_run_again(site, registry):
    registry.start()
    play = site.deploy("-vvv", image_registry_password=PASSWORD).succeeded()
    assert f"Images: the official ones, pulled from {registry.address}" in play.said
    for service, variable in IMAGES.items():
        assert site.inspect(service, ".Config.Image") == registry.name(official(service, variable))
    pulled = {registry.name(official(role, variable)) for role, variable in (IMAGES | BASES).items()}
    built = {site.inspect(service, ".Config.Image") for service in ("django", "nginx", "localstripe")}
    assert set(registry.images()) == pulled | built

    assert PASSWORD not in play.output.partition("TASK")[2]
    assert list((site.folder / "tmp").rglob("config.json")) == []
    users_own = Path.home() / ".docker/config.json"
    assert not users_own.exists() or registry.address not in users_own.read_text()


def test_what_is_here_needs_no_registry(site, registry):
    registry.kill()
    play = site.deploy().succeeded()
    assert play.changed == 0
    assert f"Images: the official ones, pulled from {registry.address}" in play.said
