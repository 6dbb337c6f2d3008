"""The chart is what render-site writes, object by object, and each of its values changes what it says and nothing else."""

import copy
import hashlib
import json
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from itertools import permutations
from pathlib import Path

import pytest
import yaml
from programs import helm, run
from test_manifests import secrets

ROOT = Path(__file__).resolve().parents[1]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
VERSIONS = (3, 4)
# What looks like Helm's own language is none of it.
BRACES = {
    "memcached_arguments": ["--memory-limit=64", "{{ '{{' }} .Values.nowhere }}"],
    "mysql_settings": {"a": "{{ '{{-' }} b }}"},
}
# Another inventory: much of what may be there is, and what may be elsewhere is.
OTHER = {
    "autoscaling_enabled": False,
    "django_environment": {"COLOUR": "blue", "LOG_LEVEL": "WARNING"},
    "kubernetes_annotations": {"example.org/owner": "shop"},
    "kubernetes_node_selector": {"example.org/pool": "site"},
    "kubernetes_pull_secrets": ["registry-login"],
    "kubernetes_storage_class": "fast",
    "localstripe_enabled": True,
    "memcached_servers": ["one.example:11212"],
    "mysql_existing_secret": "own-mysql",
    "nginx_ingress_hosts": ["site.example", "www.site.example"],
    "nginx_ingress_tls_secret": "site-tls",
    "redis_host": "redis.example",
}
# Values that are no variables of the same meaning: there is nothing to compare them with.
OWN = {"image.registry", "django.image", "nginx.image", "platform.removeData"}
SWITCHES = {
    "autoscaling.enabled",
    "kubernetes.networkPolicies",
    "memcached.enabled",
    "prometheus.enabled",
    "redis.enabled",
    "stripe.enabled",
}
# Values that share a place, as they say.
SHARED = {
    "django.workers": "django.threads",
    "image.registry": r"\w+\.(i|\w+I)mage",
    "nginx.behindProxy": "nginx.ingressHosts",
    "nginx.ingressTlsSecret": "nginx.ingressHosts",
}


# Variables that are secret
SPECS = [
    yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")
]
SECRET = {name for options in SPECS for name, option in options.items() if option.get("no_log")}


def variable(value):
    """Return the variable that a value stands for."""
    return re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", value).replace(".", "_")


@pytest.fixture(scope="session")
def top(tmp_path_factory):
    """A folder for all that is written."""
    return tmp_path_factory.mktemp("chart")


@pytest.fixture(scope="session")
def play(top):
    """Run a playbook for an inventory of its own, without a vault, and return the folder that it writes."""

    def run_play(playbook, name, variables):
        folder = top / name
        shutil.copytree(ROOT / "inventories/production", folder / "inventory", ignore=shutil.ignore_patterns("vault.yml"))
        (folder / "inventory/group_vars/all/tests.yml").write_text(json.dumps(BRACES | variables))
        written = {"platform_render_directory": str(folder / "rendered"), "chart_directory": str(folder)}
        command = [PLAYBOOK, f"--inventory={folder}/inventory", f"playbooks/{playbook}.yml", "--extra-vars", json.dumps(written)]
        run(*command, cwd=ROOT, stdin=subprocess.DEVNULL)
        return folder

    return run_play


@pytest.fixture(scope="session")
def charts(play):
    """The folders of two charts and their packages."""
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda case: play("package-chart", *case), (("chart", {}), ("other-chart", OTHER)))
        return dict(zip(("default", "other"), made, strict=True))


@pytest.fixture(scope="session")
def chart(charts):
    """The chart of the inventory as it is."""
    return charts["default"] / "tandem"


@pytest.fixture(scope="session")
def schema(chart):
    """The schema of each value, by its name."""
    parts = json.loads((chart / "values.schema.json").read_text())["properties"]
    return {f"{part}.{name}": value for part in parts for name, value in parts[part].get("properties", {}).items()}


@pytest.fixture(scope="session")
def defaults(chart):
    """The default of each value, by its name."""
    return {f"{part}.{name}": value for part, values in loaded(chart / "values.yaml").items() for name, value in values.items()}


def another(number, schema, old):
    """Return a value unlike an old one, and unlike those of other numbers."""
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice != old)
    if schema["type"] == "object" and old:
        return old | {"scaleUp": old["scaleUp"] | {"stabilizationWindowSeconds": number}}
    key = f"example.org/{number}"
    items = {"string": f"text{number}", "object": {"key": key}}
    array = [items[schema["items"]["type"]]] if "items" in schema else []
    return {"boolean": not old, "integer": 1000 + number, "array": array, **items, "object": {key: "x"}}[schema["type"]]


@pytest.fixture(scope="session")
def changed(schema, defaults):
    """Another value for each, but for the secrets, which are a matter of their own; nothing is switched off."""
    return {
        name: another(number, value, defaults[name])
        for number, (name, value) in enumerate(schema.items())
        if name not in SWITCHES and variable(name) not in SECRET
    }


@pytest.fixture(scope="session")
def cases(changed):
    """Values for Helm, each set beside what render-site writes with the variables of these names."""
    off = dict.fromkeys(SWITCHES, False) | {"django.replicas": 5, "nginx.replicas": 6, "django.existingSecret": "own-django"}
    watched = {"prometheus.enabled": True, "kubernetes.networkPolicies": True, "prometheus.existingSecret": "own-prometheus"}
    cases = {"default": {}, "changed": changed | {"prometheus.enabled": True}, "off": off, "watched": off | watched}
    return {name: {key: value for key, value in values.items() if key not in OWN} for name, values in cases.items()}


@pytest.fixture(scope="session")
def rendered(play, cases):
    """What render-site writes in each case, and for the other inventory."""
    variables = {name: {variable(key): value for key, value in values.items()} for name, values in cases.items()} | {
        "other": OTHER
    }
    with ThreadPoolExecutor(2) as pool:
        folders = pool.map(lambda case: play("render-site", *case), variables.items())
        return {name: load(*sorted(folder.glob("rendered/*.yaml"))) for name, folder in zip(variables, folders, strict=True)}


def loaded(path):
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text())


def load(*sources):
    """Return objects by kind and name, a job's without its hash."""
    texts = [source.read_text() if isinstance(source, Path) else source for source in sources]
    objects = [item for text in texts for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item]
    by_name = {re.sub(r"^(Job/.*)-\w{10}$", r"\1", f"{item['kind']}/{item['metadata']['name']}"): item for item in objects}
    assert len(by_name) == len(objects)
    return by_name


def template(chart, values=None, version=3, name="tandem", namespace="tandem"):
    """Return the objects that Helm makes of a chart."""
    nested = {}
    for key, value in (values or {}).items():
        part, member = key.split(".")
        nested.setdefault(part, {})[member] = value
    command = ["template", name, chart, f"--namespace={namespace}", "--values=-"]
    return load(helm(*command, version=version, input=json.dumps(nested)))


def compared(objects):
    """Return objects without what a chart has to add, hooks, and what it leaves out, a job's hash."""
    objects = copy.deepcopy(objects)
    for name, item in objects.items():
        if name.startswith("Job/"):
            item["metadata"]["name"] = name
            notes = {key: value for key, value in item["metadata"].pop("annotations", {}).items() if "helm.sh/" not in key}
            item["metadata"] |= {"annotations": notes} if notes else {}
    return objects


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("inventory", ["default", "other"])
def test_the_chart_is_what_render_site_writes(charts, rendered, inventory, version):
    assert compared(template(charts[inventory] / "tandem", version=version)) == compared(rendered[inventory])


@pytest.mark.parametrize("case", ["changed", "off", "watched"])
def test_values_are_what_variables_are(chart, cases, rendered, case):
    found, wanted = compared(template(chart, cases[case])), compared(rendered[case])
    assert set(found) == set(wanted)
    for name, item in found.items():
        assert places(item) == places(wanted[name]), name


def places(node, path=""):
    """Return all that is in an object by its place: items of lists by their names, texts by lines, names without hashes."""
    if isinstance(node, dict):
        return {place: leaf for key, child in node.items() for place, leaf in places(child, f"{path}/{key}").items()}
    if isinstance(node, list) and node:
        names = [
            item.get("name") or item.get("key") or index if isinstance(item, dict) else index for index, item in enumerate(node)
        ]
        return {
            place: leaf for key, child in zip(names, node, strict=True) for place, leaf in places(child, f"{path}/{key}").items()
        }
    if isinstance(node, str) and "\n" in node:
        return {f"{path}:{number}": line for number, line in enumerate(node.splitlines())}
    return {path: re.sub(r"-\w{10}$", "", node) if isinstance(node, str) and path.endswith("/name") else node}


def difference(one, other):
    """Return the places at which two sets of objects differ; an object that is there in one of them alone is one place."""
    one, other = ({re.sub(r"-\w{10}$", "", name): item for name, item in objects.items()} for objects in (one, other))
    found = set(one) ^ set(other)
    for name in set(one) & set(other):
        leaves = places(one[name]), places(other[name])
        keys = leaves[0].keys() | leaves[1].keys()
        found |= {f"{name}{key}" for key in keys if leaves[0].get(key, KeyError) != leaves[1].get(key, KeyError)}
    return found


@pytest.fixture(scope="session")
def effects(chart, cases, changed, defaults):
    """The places that each value changes where it changes some: on its own, or when the others are changed, too, or off."""
    whole = {name: template(chart, values) for name, values in cases.items()}

    def effect(name):
        for case, values in cases.items():
            value = defaults[name] if values.get(name) == changed[name] else changed[name]
            if found := difference(whole[case], template(chart, values | {name: value})):
                return found
        return set()

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(changed, pool.map(effect, changed), strict=True))


def test_each_value_changes_something_and_no_two_the_same(effects):
    assert [name for name, found in effects.items() if not found] == []
    for one, other in permutations(effects, 2):
        assert (
            re.fullmatch(SHARED.get(one, ""), other)
            or re.fullmatch(SHARED.get(other, ""), one)
            or not effects[one] & effects[other]
        )


def test_each_switch_takes_away_its_own(chart):
    def objects(**values):  # by name, without the checksum of a config that may tell of others
        return {re.sub("-[0-9a-f]{10}$", "", name): item for name, item in template(chart, values).items()}

    default = objects(**{"prometheus.enabled": True})
    for switch in SWITCHES:
        part = switch.split(".")[0]
        gone = set(default) - set(objects(**{"prometheus.enabled": True, switch: False}))
        owners = {name for name, item in default.items() if item["metadata"]["labels"]["app.kubernetes.io/name"] == part}
        owners |= {f"NetworkPolicy/prometheus-{part}"} & set(default)
        policies = {name for name in default if name.startswith("NetworkPolicy/")}
        assert gone == (policies if part == "kubernetes" else owners), switch


def test_a_registry_takes_the_place_of_all_others(chart):
    for version in VERSIONS:
        own, mirror = {"prometheus.enabled": True}, {"prometheus.enabled": True, "image.registry": "mirror.example/site"}
        images = [
            {(name, item["name"]): item["image"] for name, pod in pods(objects).items() for item in pod["containers"]}
            for objects in (template(chart, values, version) for values in (own, mirror))
        ]
        assert images[1] == {
            name: re.sub("^(docker.io|127.0.0.1:5000)/", "mirror.example/site/", image) for name, image in images[0].items()
        }


def test_metrics_tell_of_the_image_that_runs(chart):
    objects = template(chart, {"django.image": "registry.example:5000/shop:7"})
    (config,) = (item["data"] for name, item in objects.items() if name.startswith("ConfigMap/django-"))
    assert 'started.labels("7")' in config["gunicorn.conf.py"]


def pods(objects):
    """Return what all pods are to be."""
    return {name: item["spec"]["template"]["spec"] for name, item in objects.items() if "template" in item.get("spec", {})}


@pytest.mark.parametrize(
    ("values", "rolled"),
    [
        ({"django.workers": 3}, {"Deployment/django", "Job/release"}),
        ({"nginx.clientMaxBodySize": "1m"}, {"Deployment/nginx"}),
        ({"nginx.ingressHosts": ["site.example"]}, {"Deployment/nginx"}),
        ({"mysql.volumeSize": "9Gi", "autoscaling.djangoMaximum": 11}, set()),
    ],
)
def test_a_value_rolls_the_pods_that_read_it_and_no_others(chart, values, rolled):
    before, after = pods(template(chart)), pods(template(chart, values))
    assert {name for name in before if before[name] != after[name]} == rolled


def test_a_release_is_its_name_and_its_namespace(chart):
    objects = template(chart, name="shop", namespace="elsewhere")
    assert {item["metadata"]["namespace"] for item in objects.values()} == {"elsewhere"}
    assert {item["metadata"]["labels"]["app.kubernetes.io/instance"] for item in objects.values()} == {"shop"}
    text = json.dumps(objects)
    assert "django.elsewhere.svc.cluster.local" in text
    assert "tandem.svc" not in text


SECRETS = {
    "django.secretKey": "one",
    "django.superuserPassword": "two",
    "mysql.password": "three",
    "mysql.rootPassword": "four",
    "redis.password": "five",
    "stripe.secretKey": "six",
    "stripe.webhookSecret": "seven",
    "stripe.databaseKey": "eight",
}


def test_secrets_are_made_of_values(chart):
    objects = template(chart, SECRETS)
    assert template(chart, SECRETS, version=4) == objects
    data = {name.split("/")[1].split("-")[0]: item["data"] for name, item in objects.items() if item["kind"] == "Secret"}
    texts = {name: {file: b64decode(text).decode() for file, text in files.items()} for name, files in data.items()}
    assert texts["mysql"] == {"mysql_password": "three", "mysql_root_password": "four"}
    assert texts["django"] == {
        "django_secret_key": "one",
        "django_superuser_password": "two",
        "mysql_password": "three",
        "redis_password": "five",
    }
    assert f"user django on #{hashlib.sha256(b'five').hexdigest()} " in texts["redis"]["redis_users.acl"]
    assert set(texts["stripe"].values()) == {"six", "seven", "eight"}
    used = set().union(*(secrets(pod) for pod in pods(objects).values()))
    assert used == {item["metadata"]["name"] for item in objects.values() if item["kind"] == "Secret"}
    # Another secret rolls the pods that read it, and no others.
    before, after = pods(objects), pods(template(chart, SECRETS | {"redis.password": "nine"}))
    assert {name for name in before if before[name] != after[name]} == {"Deployment/django", "Job/release", "StatefulSet/redis"}
    after = pods(template(chart, SECRETS | {"stripe.secretKey": "nine", "mysql.rootPassword": "ten"}))
    assert {name for name in before if before[name] != after[name]} == {"Deployment/django"}
    # Prometheus's exporters have accounts of their own, where there is one.
    assert "exporter" not in texts["redis"]["redis_users.acl"]
    own = {"prometheus.enabled": True, "prometheus.mysqlPassword": "seven", "prometheus.redisPassword": "eight"}
    objects = template(chart, SECRETS | own)
    files = {
        file: b64decode(text).decode()
        for item in objects.values()
        for file, text in item.get("data", {}).items()
        if item["kind"] == "Secret"
    }
    assert f"user exporter on #{hashlib.sha256(b'eight').hexdigest()} " in files["redis_users.acl"]
    assert 'password = "four"' in files["prometheus_root.cnf"]
    assert "password = seven" in files["prometheus_mysql.cnf"]
    assert files["prometheus_account.sql"].count("IDENTIFIED BY 'seven'") == 2
    assert list(json.loads(files["prometheus_redis.json"]).values()) == ["eight"]
    without = template(chart, SECRETS | {"redis.enabled": False})
    assert not any("redis" in json.dumps(item) for item in without.values() if item["kind"] == "Secret")


def test_the_chart_holds_no_secret(chart, defaults):
    assert {defaults[name] for name in SECRETS} == {""}
    assert not [name for name in template(chart) if name.startswith("Secret/")]


REFUSED = {
    "django.cpuLimits: 1": ["django", "cpuLimits"],
    "shop.enabled: true": ["shop"],
    "django.replicas: many": ["django", "replicas", "string", "integer"],
    "redis.enabled: 'yes'": ["redis", "enabled", "string", "boolean"],
    "django.allowedHosts: localhost": ["django", "allowedHosts", "string", "array"],
    "django.environment: {PORT: 1}": ["django", "environment", "PORT", "string"],
    "nginx.serviceType: Nodeport": ["nginx", "serviceType", "NodePort"],
    "mysql.password: open-sesame": ["mysql.rootPassword is missing: give all secrets of mysql, or none of them"],
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("line", REFUSED)
def test_values_that_are_refused(chart, line, version):
    with pytest.raises(AssertionError) as refusal:
        template(chart, yaml.safe_load(line), version)
    said = str(refusal.value)
    assert all(word in said for word in REFUSED[line]), said
    assert len(said.splitlines()) < 8


@pytest.mark.parametrize("version", VERSIONS)
def test_helm_finds_nothing_to_say_against_it(charts, version):
    for folder in charts.values():
        helm("lint", "--strict", folder / "tandem", version=version)
        for line in ("Chart.yaml", "templates/NOTES.txt", "values.schema.json"):
            assert (folder / "tandem" / line).exists()


def test_every_row_of_the_table_finds_something(schema):
    table = loaded(ROOT / "roles/chart/vars/main.yml")["__chart_knobs"]
    names = {variable(name) for name in schema}
    assert [row for row in table if not any(fnmatch(name, row.replace("<service>", "*")) for name in names)] == []


def test_each_value_is_explained_once(chart, schema, defaults):
    assert set(schema) == set(defaults)
    readme, values = (chart / "README.md").read_text(), (chart / "values.yaml").read_text()
    for name, value in schema.items():
        assert readme.count(f"| `{name}` |") == 1
        assert f"| {value['description']} |" in readme
    explained = re.findall(r"(?m)^  # .*\n(?:  # .*\n)*  (\w+):", values)
    assert len(explained) == len(schema)


def test_the_package_is_the_folder(charts, chart, top):
    shutil.unpack_archive(charts["default"] / "tandem-0.0.0.tgz", top / "unpacked", filter="data")
    folders = [chart, top / "unpacked/tandem"]
    packed = [{path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()} for folder in folders]
    assert packed[0] == packed[1]
    assert {loaded(chart / "Chart.yaml")[key] for key in ("version", "appVersion")} == {"0.0.0"}
