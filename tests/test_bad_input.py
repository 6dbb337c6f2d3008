"""What a user reads who mistypes, lacks something or is interrupted; nothing is touched before the input was found good."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from conftest import contents, docker, eventually, free_port

# Namespaces of its own for a command: with a disk that is full soon, or without an engine and without root.
FULL_DISK = 'mount -t tmpfs -o size=12k none "$0" && exec "$@"'
NO_ENGINE = 'mount -t tmpfs none /run && exec unshare --user --map-user=65534 --map-group=65534 "$@"'
NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


@pytest.fixture(scope="module")
def site(new_site):
    return new_site("input", image_version="tandem-input")  # in the tags of the images that it builds, to know them by


@pytest.fixture
def inventory(site):
    """The inventory's folder of variables, with its files put back afterwards."""
    folder = site.checkout / "inventories/local/group_vars/all"
    before = {path: path.read_text() for path in folder.iterdir()}
    yield folder
    for path in folder.iterdir():
        path.unlink()
    for path, text in before.items():
        path.write_text(text)


@pytest.fixture
def project(site):
    """The Django project, put back afterwards."""
    folder = site.checkout / "django_site"
    before = {path: path.read_text() for path in (folder / "requirements.txt", folder / "config/settings.py")}
    yield folder
    for path, text in before.items():
        path.write_text(text)


@pytest.fixture(scope="module")
def mistakes(site):
    """One run with several mistakes at once."""
    return site.deploy(
        platform_name="swarm",
        nginx_published_port="eighty",
        redis_enabled="perhaps",
        mysql_settings="fast",
        django_log_level="CHATTY",
        nginx_publised_address="127.0.0.1",
        memcache_enabled="yes",
        platform_colour="green",
    ).failed()


@pytest.mark.parametrize(
    "sentence",
    [
        "value of platform_name must be one of: compose, kubernetes, got: swarm. roles/<role>/README.md says",
        "argument 'nginx_published_port' is of type str and we were unable to convert to int: \"'eighty'\"",
        "argument 'redis_enabled' is of type str and we were unable to convert to bool: The value 'perhaps' is not",
        "argument 'mysql_settings' is of type str and we were unable to convert to dict",
        "value of django_log_level must be one of: DEBUG, INFO, WARNING, ERROR, CRITICAL, got: CHATTY.",
        "There is no variable nginx_publised_address: did you mean nginx_published_address?",
        "There is no variable memcache_enabled: did you mean memcached_enabled?",
        "There is no variable platform_colour: roles/platform/README.md lists what there is.",
    ],
)
def test_every_mistake_is_told_at_once(site, mistakes, sentence):
    assert sentence in mistakes.said
    assert not site.traces()


def test_what_is_required_and_missing(site, inventory):
    (inventory / "platform.yml").unlink()
    (inventory / "django.yml").unlink()
    play = site.deploy().failed()
    assert "django_site_environment is required and not set" in play.said
    assert "platform_name is required and not set: roles/<role>/README.md says what it takes" in play.said
    assert not site.traces()


def test_what_only_prometheus_would_refuse(site):
    refused = {"scrape_interval": "90s", "retention": "15", "retention_size": "6 GB", "alertmanagers": ["http://alerts"]}
    play = site.deploy(**{f"prometheus_{name}": value for name, value in refused.items()}).failed()
    assert "prometheus_scrape_interval is 90s: choose from 1s to 60s." in play.said
    assert "prometheus_retention is 15: say it as a number with h, d, w or y, as in 15d." in play.said
    assert "prometheus_retention_size is 6 GB: say it as a number with MB, GB or TB, as in 6GB." in play.said
    assert "prometheus_alertmanagers has http://alerts: name each as host:port." in play.said
    assert not site.traces()


def test_what_only_compose_would_refuse(site):
    ports = {"nginx_published_port": 99999, "prometheus_published_port": 99999}
    play = site.deploy(platform_instance="Tandem", prometheus_enabled=True, **ports).failed()
    assert "platform_instance is Tandem: begin with a lower-case letter or a digit" in play.said
    assert "nginx_published_port is 99999: choose a port from 1 to 65535." in play.said
    assert "prometheus_published_port is 99999: choose a port from 1 to 65535." in play.said
    assert "nginx_published_port and prometheus_published_port are both 99999: choose another one." in play.said
    assert not site.traces()


@pytest.mark.parametrize(("service", "called"), [("nginx", "the site"), ("prometheus", "Prometheus")])
def test_a_port_in_use(site, service, called):
    name, port = f"{service}_published_port", free_port()
    with socket.create_server(("127.0.0.1", port)):
        play = site.deploy(**{"prometheus_enabled": True, name: port}).failed()
    assert (
        f"Port {port} on 127.0.0.1 is in use by another program: stop that, or choose another port for {called} with "
        f"{name} (for example -e {name}={port + 1})."
    ) in play.said
    assert not site.traces()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"stripe_secret_key": ""}, "There is no Stripe key: stripe_secret_key is empty. Put one into the vault as"),
        ({"stripe_secret_key": "sk_live_" + "1" * 24}, "is a live key, and stripe_mode, which is test, allows none but test"),
    ],
)
def test_a_stripe_key_that_is_no_good(site, variables, sentence):
    play = site.deploy("-vvv", **variables).failed()
    assert sentence in play.said
    assert "1" * 24 not in play.said
    assert not site.traces()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mysql_password", "There is no vault {} yet."),
        ("mysql_root_password", "secrets_rotated is mysql_root_password: it has to be one of stripe_secret_key, mysql_password,"),
    ],
)
def test_a_rotation_that_cannot_be(site, name, sentence):
    assert sentence.format(site.vault) in site.start("rotate-secrets", secrets_rotated=name).failed().said
    assert not site.traces()


def answers(url):
    """Tell whether somebody is there."""
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def test_a_stripe_key_that_was_revoked(site):
    port = free_port()
    image = docker("images", "--quiet", "tandem/localstripe").split()[0]
    stripe = docker("run", "--detach", "--rm", "--publish", f"127.0.0.1:{port}:8420", image)
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/_config/health"))
        own = {"localstripe_enabled": False, "stripe_api_base": f"http://127.0.0.1:{port}"}
        play = site.deploy("-vvv", stripe_secret_key="sk_test_01234567890123456Revoked", **own).failed()
    finally:
        docker("stop", "--time=1", stripe)
    assert (
        "Stripe does not accept the key in stripe_secret_key: it was revoked, or is not one of Stripe's. Nothing was" in play.said
    )
    assert "Revoked" not in play.said
    assert not site.traces()


def test_no_project(site, tmp_path):
    play = site.deploy(django_source=str(tmp_path)).failed()
    assert f"There is no Django project in {tmp_path}: django_source has to be a folder with manage.py in it" in play.said
    play = site.deploy(django_requirements="requirements/all.txt").failed()
    assert "the requirements file that django_requirements names, which is requirements/all.txt." in play.said
    assert not site.traces()


def test_no_engine_and_no_root(site):
    play = site.start("deploy-site", through=[*NAMESPACE, NO_ENGINE, "sh"]).failed()
    assert "No Docker engine answers nobody on this machine, and to install, start or use one takes root: run" in play.said
    assert not site.traces()


def test_the_vault_and_its_password(site, inventory):
    (inventory / "vault.yml").write_text("vault_mysql_password: open-sesame\n")
    encrypt = [Path(sys.executable).with_name("ansible-vault"), "encrypt", "--encrypt-vault-id=local", inventory / "vault.yml"]
    subprocess.run(encrypt, cwd=site.checkout, env=site.environment, check=True, capture_output=True)
    play = site.deploy("-vvv").failed()
    assert "vault.yml holds no vault_mysql_root_password and no vault_redis_password and no vault_django_secret_key" in play.said
    assert "add what is missing with `ansible-vault edit" in play.said
    assert "open-sesame" not in play.output

    password = site.folder / "config/tandem/local.vault-password"
    password.write_text("another one\n")
    play = site.deploy().failed()
    assert f"The password in {password} does not open {inventory}/vault.yml: put the right one there." in play.said

    (inventory / "vault.yml").unlink()
    assert "Nothing of the site runs." in site.start("remove-site", platform_remove_data=True).succeeded().said
    assert not site.traces()


@pytest.mark.parametrize(
    ("file", "mistake", "reason"),
    [
        ("requirements.txt", "Django==", "Invalid requirement: 'Django=='"),
        ("config/settings.py", "DEBUG = (", "SyntaxError"),
    ],
)
def test_an_image_that_cannot_be_built(site, project, file, mistake, reason):
    with (project / file).open("a") as text:
        text.write(f"\n{mistake}\n")
    play = site.deploy().failed()
    assert "The image tandem/django:tandem-input-" in play.said
    assert reason in play.said.partition("could not be built. The last lines of the build:")[2]
    assert not any(site.remains().values())
    assert not site.project.exists()


def test_a_full_disk(site, tmp_path):
    project = f"{tmp_path}/project"
    play = site.start("deploy-site", through=[*NAMESPACE, FULL_DISK, str(tmp_path)], platform_directory=project).failed()
    assert f"The project could not be written to {project}: No space left on device. What runs was not touched" in play.said
    assert not site.remains()[("rm", "--force", "--volumes")]


def test_a_run_interrupted_at_any_phase_and_run_again(site):
    (site.checkout / "django_site/changed.txt").write_text("So that there is an image to build.\n")
    play = site.deploy()
    play.reach("Build tandem/django:")
    play.until(lambda: any(b"buildx" in contents(path.with_name("cmdline")) for path in site.processes()))
    play.end(signal.SIGINT)
    assert not site.project.exists()

    play = site.deploy()
    play.until(lambda: list(site.project.rglob("*.*")))
    play.end(signal.SIGKILL)
    assert "Bring up" in play.output
    assert not site.remains()[("rm", "--force", "--volumes")]

    play = site.deploy()
    play.until(lambda: docker("ps", "--quiet", "--filter", f"name={site.instance}-release"))
    play.end(signal.SIGKILL)

    play = site.deploy()
    play.until(lambda: site.inspect("django", ".State.Running") == "true")
    play.end(signal.SIGINT)

    site.deploy().succeeded()
    assert site.get("/mysql").status_code == 200
    assert site.deploy().succeeded().changed == 0
