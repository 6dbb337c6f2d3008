"""What the roles promise in their documentation is what they do."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLES = sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def load(path):
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text())


def test_every_role_has_its_parts():
    assert {path.name for path in (ROOT / "roles").iterdir()} == {role.name for role in ROLES}
    for role in ROLES:
        for part in ("defaults/main.yml", "meta/main.yml", "README.md", "tasks"):
            assert (role / part).exists(), f"roles/{role.name} has no {part}"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_argument_specs_agree(role):
    entries = load(role / "meta/argument_specs.yml")["argument_specs"]
    options = {name: option for entry in entries.values() for name, option in entry["options"].items()}
    documented = {name: option["default"] for name, option in options.items() if not option.get("required")}
    assert load(role / "defaults/main.yml") == documented


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_names_begin_with_the_role(role):
    for name in load(role / "defaults/main.yml"):
        assert name.startswith((f"{role.name}_", "kubernetes_") if role.name == "platform" else f"{role.name}_")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_secrets_come_from_the_vault_and_are_not_logged(role):
    for entry in load(role / "meta/argument_specs.yml")["argument_specs"].values():
        for name, option in entry["options"].items():
            from_vault = "vault_" in str(option.get("default", ""))
            assert from_vault <= option.get("no_log", False), name


def test_only_platform_knows_the_platform():
    for path in ROOT.glob("roles/*/tasks/**/*.yml"):
        if path.relative_to(ROOT).parts[1] != "platform":
            assert "platform_name" not in path.read_text(), path


def test_readmes_are_current():
    run = subprocess.run([sys.executable, ROOT / "tests/readmes.py", "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_collections_are_those_of_the_bundle():
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    listed = json.loads(subprocess.check_output([galaxy, "collection", "list", "--format", "json"], text=True))
    installed = {name: entry["version"] for collections in listed.values() for name, entry in collections.items()}
    for collection in load(ROOT / "requirements.yml")["collections"]:
        assert installed[collection["name"]] == collection["version"]


def filters(name):
    """Return the functions of one of platform's filter plugins."""
    path = ROOT / f"roles/platform/filter_plugins/{name}.py"
    spec = importlib.util.spec_from_file_location(f"platform_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FilterModule().filters()


def test_a_rollback_leaves_data_alone_that_a_newer_image_may_have_changed():
    before = {"services": {name: {"image": f"{name}:1", "mem_limit": "1G"} for name in ("mysql", "redis", "django")}}
    project = {"services": {"mysql": {"image": "mysql:2"}, "redis": {"image": "redis:1"}, "django": {"image": "django:2"}}}
    services = filters("compose")["compose_before"](before, project, data=["mysql", "redis"])["services"]
    assert services == before["services"] | {"mysql": {"image": "mysql:2"}}

    def stateful(name, version):
        template = {"spec": {"containers": [{"name": name, "image": f"{name}:{version}"}]}}
        fields = [{"manager": "tandem", "operation": "Apply", "fieldsV1": {"f:spec": {}}}]
        metadata = {"name": name, "namespace": "tandem", "managedFields": fields}
        return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": {"template": template}}

    live, wanted = [stateful("mysql", 1), stateful("redis", 1)], [stateful("mysql", 2), stateful("redis", 1)]
    objects = filters("kubernetes")["kubernetes_before"](live, wanted, "tandem")
    assert [item["metadata"]["name"] for item in objects] == ["redis"]
    assert objects[0]["spec"] == live[1]["spec"]


def test_inventories_hold_only_what_differs():
    defaults = {name: value for role in ROLES for name, value in load(role / "defaults/main.yml").items()}
    for path in ROOT.glob("inventories/*/group_vars/all/*.yml"):
        if path.name != "vault.yml":
            for name, value in load(path).items():
                assert name not in defaults or defaults[name] != value, f"{path}: {name} has its default's value"


def test_every_role_has_a_scenario():
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
    beside_django = {"stripe", "localstripe"}  # in its scenario
    assert scenarios | beside_django >= {role.name for role in ROLES} | {"default", "site"}
    assert beside_django <= {*load(ROOT / "molecule/django/converge.yml")[1]["roles"]}


def test_each_alert_says_what_to_do_and_has_a_test_that_it_fires():
    groups = load(ROOT / "roles/prometheus/files/alerts.rules.yml")["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    cases = load(ROOT / "tests/prometheus/alerts.yml")["tests"]
    for name, rule in alerts.items():
        assert set(rule["annotations"]) == {"meaning", "first_step"}, name
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        looks = [look["exp_samples"] for case in cases if name in case["name"] for look in case["promql_expr_test"]]
        assert [] in looks, f"{name} is never shown to stay quiet"
        assert any(f'alertname="{name}"' in sample["labels"] for samples in looks for sample in samples), f"{name} never fires"


def test_pre_commit_runs_clean(tmp_path):
    program = Path(sys.executable).with_name("pre-commit")
    environment = os.environ | {"PRE_COMMIT_HOME": str(tmp_path)}
    run = subprocess.run([program, "run", "--all-files"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "ansible-lint" not in run.stdout, "the slow ones are not for every commit"
