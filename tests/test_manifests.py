"""What render-site writes keeps the promises that are made of it; needs no cluster and no engine."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from programs import checkov, kube_score, run

ROOT = Path(__file__).resolve().parents[1]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
NAME = "app.kubernetes.io/name"
# Passwords of the tests' own, so that they can be looked for.
VAULT = {
    name: f"Hidden{number}InThisTest"
    for number, name in enumerate(yaml.safe_load((ROOT / "roles/secrets/vars/main.yml").read_text())["__secrets_generated"])
}
OPTIONS = {
    "nginx_ingress_hosts": ["site.example", "www.site.example"],
    "nginx_ingress_tls_secret": "site-tls",
    "nginx_ingress_class": "own",
    "nginx_service_type": "LoadBalancer",
    "nginx_node_port": 0,
    "memcached_replicas": 3,
    "kubernetes_storage_class": "fast",
    "kubernetes_node_selector": {"example.org/pool": "site"},
    "kubernetes_tolerations": [{"key": "example.org/pool", "operator": "Exists"}],
    "kubernetes_annotations": {"example.org/owner": "shop"},
    "kubernetes_pull_secrets": ["registry-login"],
    "mysql_existing_secret": "own-mysql",
    "redis_existing_secret": "own-redis",
    "django_existing_secret": "own-django",
    "stripe_existing_secret": "own-stripe",
    "autoscaling_enabled": False,
}
EXTERNAL = {
    "mysql_host": "mysql.example",
    "mysql_port": 3307,
    "redis_host": "redis.example",
    "redis_port": 6380,
    "memcached_servers": ["one.example:11212", "two.example:11212"],
    "mysql_existing_secret": "own-mysql",
    "redis_existing_secret": "own-redis",
}
OF_THE_PLATFORM = {"SITE_ENVIRONMENT", "ALLOWED_HOSTS", "STRIPE_API_BASE", "STRIPE_LOCAL_WEBHOOK_URL"}
VOLUMES = {"configMap", "secret", "projected", "emptyDir"}
RENDERINGS = {
    "local": ("local", {}),
    "production": ("production", {}),
    "options": ("production", OPTIONS),
    "external": ("production", EXTERNAL),
    "prometheus": ("production", {"prometheus_enabled": True, "prometheus_alertmanagers": ["alertmanager.example:9093"]}),
    "workers": ("production", {"django_workers": 3}),
    "password": ("production", {"vault_redis_password": "Another"}),
    "key": ("production", {"vault_stripe_secret_key": "Another"}),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folders of all renderings by name. Whatever vault there is does not matter."""
    top = tmp_path_factory.mktemp("rendered")
    shutil.copytree(ROOT / "inventories", top / "inventories", ignore=shutil.ignore_patterns("vault.yml"))

    def render(name):
        inventory, variables = RENDERINGS[name]
        variables = VAULT | {"platform_render_directory": str(top / name)} | variables
        command = [PLAYBOOK, f"--inventory={top}/inventories/{inventory}", "playbooks/render-site.yml"]
        run(*command, "--extra-vars", json.dumps(variables), cwd=ROOT, stdin=subprocess.DEVNULL)
        return top / name

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(RENDERINGS, pool.map(render, RENDERINGS), strict=True))


def load(folder):
    """Return a rendering's objects by kind and name, that of a job without its hash."""
    objects = [item for path in sorted(folder.glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())]
    by_name = {plain(f"{item['kind']}/{item['metadata']['name']}"): item for item in objects}
    assert len(by_name) == len(objects)
    return by_name


def plain(name):
    """Return the name of an object without a job's hash."""
    return re.sub(r"^(Job/.*)-[0-9a-f]{10}$", r"\1", name)


def pods(objects):
    """Return the templates of all pods."""
    return {name: item["spec"]["template"] for name, item in objects.items() if "template" in item.get("spec", {})}


def secrets(spec):
    """Return the names of the Secrets that a pod mounts."""
    volumes = spec.get("volumes", [])
    sources = [source for volume in volumes for source in volume.get("projected", {}).get("sources", [])]
    names = [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]
    return {*names, *(source["secret"]["name"] for source in sources if "secret" in source)}


def named(objects, kind):
    """Return the names of all objects of a kind."""
    return {name.split("/")[1] for name in objects if name.startswith(f"{kind}/")}


def environment(objects, workload):
    """Return the environment of a workload's container."""
    return {entry["name"]: entry["value"] for entry in pods(objects)[workload]["spec"]["containers"][0]["env"]}


@pytest.fixture(scope="session", params=["production", "options", "external", "prometheus"])
def objects(request, folders):
    """The objects of one rendering for Kubernetes."""
    return load(folders[request.param])


@pytest.fixture(scope="session")
def production(folders):
    """The objects as the inventory has them."""
    return load(folders["production"])


def test_the_schema_knows_every_field(objects):
    for item in objects.values():
        kubernetes_validate.validate(item, "1.34", strict=True)


def test_scanners_find_nothing_but_what_stays_for_a_reason(folders):
    rules = yaml.safe_load((ROOT / "tests/ignored-rules.yml").read_text())
    assert all(rule["reason"] for rule in rules)
    scanned = [
        scan(folders[name]) for scan in (kube_score, checkov) for name in ("production", "options", "external", "prometheus")
    ]
    found = {(rule, plain(name)) for rule, name in chain.from_iterable(scanned)}
    assert found == {(rule["rule"], name) for rule in rules for name in rule["objects"]}


def test_django_finds_the_same_on_both_platforms(folders, production):
    services = yaml.safe_load((folders["local"] / "compose.yml").read_text())["services"]
    django, release = (services[name]["environment"] for name in ("django", "release"))
    for workload, local in (("Deployment/django", django), ("Job/release", django | release)):
        there = environment(production, workload)
        assert {name for name in local | there if local.get(name) != there.get(name)} == OF_THE_PLATFORM
    volumes = pods(production)["Deployment/django"]["spec"]["volumes"]
    secrets = next(volume for volume in volumes if volume["name"] == "secrets")["projected"]["sources"]
    assert [item["path"] for source in secrets for item in source["secret"]["items"]] == services["django"]["secrets"]


def test_a_missing_file_is_an_error_and_no_folder_of_that_name(folders):
    services = yaml.safe_load((folders["local"] / "compose.yml").read_text())["services"]
    for service in services.values():  # the engine makes the folders that volumes name, even of a container that it only restarts
        assert not [volume for volume in service.get("volumes", []) if not re.match(r"[\w-]+:/", volume)]


def flows(objects, direction, end):
    """Return the flows that the policies allow in a direction, as who, with whom and the port."""
    for policy in (objects[f"NetworkPolicy/{name}"]["spec"] for name in named(objects, "NetworkPolicy")):
        assert direction not in policy or direction.title() in policy["policyTypes"]
        for rule in policy.get(direction, []):
            for peer in rule.get(end, [{}]):
                assert set(peer) <= {"podSelector", "namespaceSelector"}
                labels = [selector["matchLabels"] for selector in (policy["podSelector"] or {"matchLabels": {}}, *peer.values())]
                who, whom = labels[0].get(NAME, "every pod"), "anyone"
                for label in labels[1:]:
                    whom = label.get(NAME) or label["kubernetes.io/metadata.name"]
                yield from ((who, whom, f"{port['port']}/{port.get('protocol', 'TCP')}") for port in rule["ports"])


def allowed(objects):
    """Return the flows that the policies allow, each as who, with whom and the port."""
    out = set(flows(objects, "egress", "to"))
    into = {(whom, who, port) for who, whom, port in flows(objects, "ingress", "from")}
    inside = {template["metadata"]["labels"][NAME] for template in pods(objects).values()}
    ours = [{flow for flow in side if {*flow[:2]} <= inside} for side in (out, into)]
    assert ours[0] == ours[1], "what leaves one pod has to be let in by the other"
    return out | into


def test_policies_allow_what_the_readme_says(folders, production):
    usual = allowed(production)
    for number, found in enumerate((usual, allowed(load(folders["prometheus"])) - usual), start=1):
        section = (ROOT / "README.md").read_text().split("| from | to | port |")[number].split("\n\n")[0]
        table = [
            [cell.strip(" `").split("`")[0] for cell in line.strip("|").split("|")] for line in section.strip().splitlines()[1:]
        ]
        assert found == {(who, whom, port) for who, whom, ports in table for port in ports.split(", ")}


def test_prometheus_is_nowhere_where_it_is_switched_off(production, folders):
    for name, item in (production | load(folders["options"])).items():
        assert "exporter" not in json.dumps(item), name
        assert item["metadata"]["labels"][NAME] != "prometheus", name
    assert not {path.name for path in folders["local"].rglob("*")} & {"prometheus", "prometheus.yml"}


def test_nobody_talks_to_anybody_by_default(objects):
    policy = objects["NetworkPolicy/default"]["spec"]
    assert policy["podSelector"] == {}
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in policy


def test_pods_are_restricted(objects):
    for name, template in pods(objects).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert spec.get("serviceAccountName") == ("prometheus" if name == "StatefulSet/prometheus" else None), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        volumes = spec.get("volumes", [])
        assert all(set(volume) - {"name"} <= VOLUMES for volume in volumes), name
        tokens = {volume["name"] for volume in volumes if "serviceAccountToken" in json.dumps(volume)}
        holders = [
            item["name"] for item in spec["containers"] if tokens & {mount["name"] for mount in item.get("volumeMounts", [])}
        ]
        assert holders == (["prometheus"] if name == "StatefulSet/prometheus" else []), name
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert not any("hostPort" in port for port in container.get("ports", [])), name


def test_pods_say_what_they_need_and_how_they_are(objects):
    for name, template in pods(objects).items():
        container = template["spec"]["containers"][0]
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][bound]), name
        serves = not name.startswith("Job/")
        assert ({"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)) == serves, name
        assert ("topologySpreadConstraints" in template["spec"]) == serves, name
    for name in ("Deployment/django", "Deployment/nginx"):
        assert pods(objects)[name]["spec"]["containers"][0]["lifecycle"]["preStop"], name


def test_everything_is_labelled(objects):
    for name, item in (objects | {f"a pod of {name}": template for name, template in pods(objects).items()}).items():
        labels = item["metadata"]["labels"]
        assert labels[NAME], name
        assert {key.split("/")[1]: labels[key] for key in labels if key != NAME} == {
            "instance": "tandem",
            "part-of": "tandem",
            "managed-by": "tandem",
        }, name


def test_replicas_budgets_and_autoscalers_fit(objects):
    scalers = {item["spec"]["scaleTargetRef"]["name"]: item["spec"] for name, item in objects.items() if "Autoscaler" in name}
    workloads = {name: objects[name]["spec"] for name in pods(objects) if not name.startswith("Job/")}
    assert {name.split("/")[1] for name, spec in workloads.items() if "replicas" not in spec} == set(scalers)
    replicas = {name.split("/")[1]: spec.get("replicas") for name, spec in workloads.items()}
    replicas |= {name: spec["minReplicas"] for name, spec in scalers.items()}
    assert named(objects, "PodDisruptionBudget") == {name for name, number in replicas.items() if number > 1}
    for name in named(objects, "PodDisruptionBudget"):
        selected = objects[f"PodDisruptionBudget/{name}"]["spec"]["selector"]
        assert selected in [spec["selector"] for spec in workloads.values()]


def test_pods_mount_what_is_there(objects):
    volumes = [volume for template in pods(objects).values() for volume in template["spec"].get("volumes", [])]
    used = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
    assert used == named(objects, "ConfigMap")
    assert all(objects[f"ConfigMap/{name}"]["immutable"] for name in used)


def test_no_secret_is_written(folders):
    hidden = [*VAULT.values(), *(hashlib.sha256(value.encode()).hexdigest() for value in VAULT.values())]
    hidden += [base64.b64encode(value.encode()).decode().rstrip("=")[:-1] for value in VAULT.values()]
    for path in (path for folder in folders.values() for path in folder.rglob("*") if path.is_file()):
        assert not [value for value in hidden if value in path.read_text()], path
        assert "kind: Secret" not in path.read_text(), path
        assert path.parent.name != "secrets", path


def test_options_reach_what_they_are_for(folders):
    objects = load(folders["options"])
    for name, item in objects.items():
        assert item["metadata"]["annotations"].items() >= OPTIONS["kubernetes_annotations"].items(), name
    claims = [claim for item in objects.values() for claim in item.get("spec", {}).get("volumeClaimTemplates", [])]
    assert [claim["spec"]["storageClassName"] for claim in claims] == ["fast", "fast"]
    for name, template in pods(objects).items():
        spec = template["spec"]
        assert spec["nodeSelector"] == OPTIONS["kubernetes_node_selector"], name
        assert spec["tolerations"] == OPTIONS["kubernetes_tolerations"], name
        assert spec["imagePullSecrets"] == [{"name": "registry-login"}], name
        own = {"Job/release": {"own-django"}, "Deployment/django": {"own-django", "own-stripe"}}
        assert secrets(spec) <= own.get(name, {f"own-{name.split('/')[1]}"}), name
    assert named(objects, "HorizontalPodAutoscaler") == set()
    assert [objects[f"Deployment/{name}"]["spec"]["replicas"] for name in ("django", "nginx")] == [2, 2]
    assert objects["StatefulSet/memcached"]["spec"]["replicas"] == 3
    servers = ",".join(f"memcached-{number}.memcached:11211" for number in range(3))
    assert environment(objects, "Deployment/django")["MEMCACHED_SERVERS"] == servers
    assert objects["Service/nginx"]["spec"]["type"] == "LoadBalancer"
    ingress = objects["Ingress/nginx"]["spec"]
    assert [rule["host"] for rule in ingress["rules"]] == OPTIONS["nginx_ingress_hosts"]
    assert ingress["tls"] == [{"hosts": OPTIONS["nginx_ingress_hosts"], "secretName": "site-tls"}]
    assert ingress["ingressClassName"] == "own"


def test_services_of_ones_own_are_used_and_not_rendered(folders):
    objects = load(folders["external"])
    assert {item["metadata"]["labels"][NAME] for item in objects.values()} == {"platform", "django", "nginx", "autoscaling"}
    found = environment(objects, "Deployment/django")
    assert found["DATABASE_URL"] == "mysql://site@mysql.example:3307/site"
    assert found["REDIS_URL"] == "redis://django@redis.example:6380/0"
    assert found["MEMCACHED_SERVERS"] == "one.example:11212,two.example:11212"
    out = {flow for flow in flows(objects, "egress", "to") if flow[0] in ("django", "release")}
    ports = [("django", 3307), ("django", 6380), ("django", 11212), ("django", 443), ("release", 3307)]
    assert out == {(who, "anyone", f"{port}/TCP") for who, port in ports}


def test_the_stripe_key_is_for_django_alone(folders, production):
    mounted = {name: secrets(template["spec"]) for name, template in pods(production).items()}
    assert [name for name, names in mounted.items() if any("stripe" in secret for secret in names)] == ["Deployment/django"]
    services = yaml.safe_load((folders["local"] / "compose.yml").read_text())["services"]
    assert [name for name, service in services.items() if "stripe_secret_key" in service.get("secrets", [])] == ["django"]
    assert environment(production, "Deployment/django")["STRIPE_API_BASE"] == "https://api.stripe.com"
    assert environment(production, "Job/release")["STRIPE_SECRET_KEY_FILE"] == ""


@pytest.mark.parametrize(
    ("rendering", "rolled"),
    [
        ("workers", {"Deployment/django", "Job/release"}),
        ("password", {"Deployment/django", "Job/release", "StatefulSet/redis"}),
        ("key", {"Deployment/django"}),
    ],
)
def test_a_change_rolls_the_pods_that_use_it_and_no_others(folders, production, rendering, rolled):
    before, after = pods(production), pods(load(folders[rendering]))
    assert {name for name in before | after if before.get(name) != after.get(name)} == rolled
