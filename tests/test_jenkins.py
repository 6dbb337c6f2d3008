"""A build of master that really runs: from a team's repository to its own site on a cluster."""

import json
import re
import secrets
import shutil
import subprocess
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import requests
import yaml
from cluster import PASSWORD, USER, ClusterSite
from conftest import ROOT, docker
from harness import COMMANDS, JENKINSFILE, MASTER, jenkins

# The site's name is in the tags of its images, to know them by.
NAME, PORT = "tandem-jenkins", 30097
SMALL = {
    "autoscaling_enabled": False,
    "django_replicas": 1,
    "nginx_replicas": 1,
    "redis_enabled": False,
    "memcached_enabled": False,
    "image_version": NAME,
}


def forget_images():
    """Remove the images that a build made."""
    lines = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    for image in (line for line in lines if f":{NAME}-" in line):
        docker("rmi", "--force", image)


def check_out(site):
    """Make a team's repository of the site's folder, with a change that no image has yet, and return its commit."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file() and not (site.checkout / name).exists():
            (site.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, site.checkout / name)
    own = {
        name: value for name, value in site.variables.items() if not re.match("kubernetes_admin_|image_push_(user|pass)", name)
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in own.items()]
    (site.checkout / "inventories/production/group_vars/all/team.yml").write_text("\n".join(["---", *lines, ""]))
    with (site.checkout / "django_site/static/site.css").open("a") as style:
        style.write("\n/* The team's own. */\n")
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (["init", "--quiet", "--initial-branch=master"], ["add", "--all"], ["commit", "--quiet", "--message=Ours"]):
        subprocess.run([*git, *command], cwd=site.checkout, check=True)
    subprocess.run(["git", "checkout", "--quiet", "--detach"], cwd=site.checkout, check=True)
    (site.checkout / ".venv").symlink_to(ROOT / ".venv")  # or it would be made anew, in a minute
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=site.checkout, text=True).strip()


@pytest.fixture(scope="module")
def built(alone, tmp_path_factory):
    """A build of master that really runs: in a workspace, with credentials of its own, to a namespace that is prepared for it."""
    folder = tmp_path_factory.mktemp("jenkins")
    forget_images()  # what a run that was killed has left
    with ClusterSite(folder, NAME, PORT, **SMALL) as site:
        site.prepare()
        commit = check_out(site)
        generated = yaml.safe_load((ROOT / "roles/secrets/vars/main.yml").read_text())["__secrets_generated"]
        values = {name: prefix + secrets.token_hex(25) for name, prefix in generated.items()}
        password, vault = folder / "vault-password", folder / "vault"
        password.write_text(secrets.token_hex(25))
        vault.write_text(yaml.safe_dump(values))
        encrypt = [ROOT / ".venv/bin/ansible-vault", "encrypt", f"--vault-id=production@{password}", vault]
        subprocess.run(encrypt, cwd=folder, check=True, capture_output=True)
        credentials = {
            "tandem-registry": {"type": "usernamePassword", "username": USER, "password": PASSWORD},
            "tandem-kubeconfig": {"type": "file", "file": str(site.kubeconfig)},
            "tandem-vault": {"type": "file", "file": str(vault)},
            "tandem-vault-password": {"type": "file", "file": str(password)},
        }
        # As Jenkins starts it: nothing of the make that runs these tests.
        environment = {
            name: value for name, value in site.environment.items() if not re.match("M(AKE|FLAGS)|ANSIBLE_|PYTEST_", name)
        }
        environment |= MASTER | {"ONLY": "contracts", "PWD": str(site.checkout)}
        log, archive = folder / "log", folder / "archive"
        log.touch()
        where = {"workspace": str(site.checkout), "log": str(log), "archive": str(archive)}
        with jenkins() as build:
            result = build(JENKINSFILE, environment, credentials, **where)
        told = [
            PASSWORD,
            password.read_text(),
            *values.values(),
            yaml.safe_load(site.kubeconfig.read_text())["users"][0]["user"]["token"],
        ]
        yield SimpleNamespace(site=site, build=result, commit=commit, log=log.read_text(), archive=archive, secrets=told)
    forget_images()


def digest(site, service, tag):
    """Return what the registry has by a tag."""
    types = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    url = f"http://{site.registry}/v2/tandem/{service}/manifests/{tag}"
    answer = requests.head(url, headers={"Accept": types}, auth=(USER, PASSWORD), timeout=60)
    answer.raise_for_status()
    return answer.headers["Docker-Content-Digest"]


def test_a_build_of_master_goes_to_production(built):
    assert (built.build.result, built.build.commands) == ("SUCCESS", COMMANDS), built.log[-6000:]
    assert built.site.get().text == "running in production\n"
    for service, deployment in {"django": "django", "static": "nginx"}.items():
        pod = built.site.see("Deployment", deployment)["spec"]["template"]["spec"]
        names = [container["image"] for container in pod.get("initContainers", []) + pod["containers"]]
        [image] = {name for name in names if f"tandem/{service}:" in name}
        tag = image.rpartition(":")[2]
        assert re.fullmatch(NAME + r"-[0-9a-f]{12}", tag)
        assert (
            digest(built.site, service, tag) == digest(built.site, service, built.commit) == digest(built.site, service, "master")
        )


def test_it_tells_no_secret(built):
    assert "+ make deploy" in built.log
    assert [secret for secret in built.secrets if secret in built.log] == []


def test_it_leaves_its_results_and_nothing_else(built):
    reports = [ElementTree.parse(file).getroot() for file in built.archive.glob(".artifacts/junit/*.xml")]  # noqa: S314
    cases = {case.get("name") for report in reports for case in report.iter("testcase")}
    assert {"contracts", "test_readmes_are_current"} <= cases
    assert (built.archive / ".artifacts/logs/contracts.log").exists()
    assert not built.site.checkout.exists()
    assert (ROOT / ".venv/installed").exists()
