"""The chart on a cluster, from a registry, by both versions of Helm: installed, upgraded, taken back, removed, in this order."""

import subprocess

import pytest
import yaml
from cluster import PULL_SECRET, ClusterSite
from conftest import docker, eventually
from load import Visitors
from programs import helm, layer, program
from test_faults import NAMES, states
from test_kubernetes_load import settled, version

NAME = "tandem-chart"
SECRETS = {
    "django": {"secretKey": "a throw-away key", "superuserPassword": "open-sesame"},
    "mysql": {"password": "sesame", "rootPassword": "root-sesame"},
    "prometheus": {"mysqlPassword": "exporter-sesame", "redisPassword": "exporter-redis-sesame"},
    "redis": {"password": "redis-sesame"},
    "stripe": {"secretKey": f"sk_test_{'a' * 24}", "webhookSecret": f"whsec_{'a' * 24}", "databaseKey": "stripe-sesame"},
}
VALUES = {
    "autoscaling": {"enabled": False},
    "django": {"cpuRequest": "50m", "workers": 1},
    "mysql": {"cpuRequest": "50m"},
    "kubernetes": {"pullSecrets": [PULL_SECRET]},
}


class ChartSite(ClusterSite):
    """One that Helm installs."""

    def __init__(self, *arguments, **variables):
        super().__init__(*arguments, **variables)
        self.chart = f"oci://{self.registry}/charts/tandem"
        self.values = self.folder / "values.yaml"
        self.environment |= {f"HELM_{part}_HOME": str(self.folder / "helm") for part in ("CACHE", "CONFIG", "DATA")}

    def prepare(self):
        """Have the administrator prepare the namespace, while the chart is made and pushed, and the images that it names."""
        plays = [self.start(playbook) for playbook in ("push-images", "package-chart")]
        super().prepare()
        for play in plays:
            play.succeeded()
        user, password = (self.variables[f"image_push_{part}"] for part in ("username", "password"))
        login = ["registry", "login", self.registry, f"--username={user}", "--password-stdin", "--plain-http"]
        helm(*login, input=password, env=self.environment)
        package = self.checkout / "rendered/chart/tandem-0.0.0.tgz"
        helm("push", package, self.chart.removesuffix("/tandem"), "--plain-http", env=self.environment)

    def helm(self, command, *options, version=3, status=0, **values):
        """Have Helm install or upgrade the site as the deploy account, with values on top of its own."""
        whole = {part: SECRETS.get(part, {}) | VALUES.get(part, {}) | values.get(part, {}) for part in SECRETS | VALUES | values}
        self.values.write_text(yaml.safe_dump(whole))
        given = [self.chart, "--version=0.0.0", "--plain-http", f"--values={self.values}", "--timeout=5m"]
        return self.ask(command, *given, *options, version=version, status=status)

    def ask(self, command, *options, version=3, status=0):
        """Have Helm do something with the site, and return all that it says."""
        access = [f"--kubeconfig={self.kubeconfig}", "--kube-context=tests", f"--namespace={self.instance}"]
        whole = [program(f"helm{version}", layer) / "helm", command, self.instance, *options, *access]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.run(whole, env=self.environment, check=False, **pipes)
        assert process.returncode == status, process.stdout
        return process.stdout

    def password(self):
        """Return the superuser's password."""
        return SECRETS["django"]["superuserPassword"]

    def claims(self):
        """Return the names of its volumes' claims."""
        return {item["metadata"]["name"] for item in self.all("PersistentVolumeClaim")}


@pytest.fixture(scope="module")
def site(alone, tmp_path_factory):
    """One that nobody has installed yet."""
    source = "build" if "tandem/mysql" in docker("images", "--format", "{{.Repository}}").split() else "pull"
    options = {"image_source": source, "image_push_tags": [], "prometheus_enabled": True}
    with ChartSite(tmp_path_factory.mktemp("chart"), NAME, 30094, **options) as site:
        site.prepare()
        yield site


def test_a_secret_that_is_not_there(site):
    said = site.helm("install", status=1, **{part: dict.fromkeys(values, "") for part, values in SECRETS.items()})
    assert "There is no Secret " in said
    assert f" in the namespace {NAME}: make it, name another one as " in said
    assert site.all("StatefulSet") == []


def test_an_installation_from_the_registry(site):
    said = site.helm("install")
    assert "The site: http://<any node>:30094" in said
    assert "Made the superuser admin." in said  # the hooks' logs
    assert "MySQL has the account exporter, which may log in and nothing else." in said
    eventually(lambda: states(site) == dict.fromkeys(NAMES, "up"))
    site.start("verify-site", secrets_placeholders=True).succeeded()
    assert "Site administration" in site.sign_in().text
    assert site.all("Job") == []


def test_prometheus_sees_it(site):
    path = f"/api/v1/namespaces/{NAME}/services/prometheus:http/proxy/api/v1/query"
    up = [("query", 'count by (__name__) ({__name__=~"up|(mysql|redis|memcached|nginx)_up"} == 1)')]

    def seen():
        return {item["metric"]["__name__"]: int(item["value"][1]) for item in site.cluster.ask(path, up)["data"]["result"]}

    eventually(lambda: site.see("StatefulSet", "prometheus")["status"].get("readyReplicas") == 1)
    # Two pods of each tier, three volumes, and one of everything else
    eventually(lambda: seen() == {"mysql_up": 1, "redis_up": 1, "memcached_up": 1, "nginx_up": 2, "up": 11})


def test_an_upgrade_under_load(site):
    before = version(site)
    with Visitors(site.address) as visitors:
        said = site.helm(
            "upgrade", "--wait", version=4, django={"workers": 2, "logLevel": "WARNING"}, nginx={"clientMaxBodySize": "11m"}
        )
        eventually(lambda: settled(site))
    assert "The superuser admin exists." in said
    assert visitors.lost == {}
    assert min(visitors.answers.values()) > 200
    assert not version(site) & before
    assert states(site) == dict.fromkeys(NAMES, "up")


def test_failing_upgrades_are_taken_back(site):
    before = version(site)
    with Visitors(site.address) as visitors:
        said = site.helm("upgrade", status=1, django={"environment": {"DJANGO_SETTINGS_MODULE": "nowhere"}})
        assert "gunicorn cannot load the site" in said  # before it migrates anything
        assert version(site) == before
        options = ["--atomic", "--timeout=45s"]
        said = site.helm("upgrade", *options, status=1, django={"environment": {"GUNICORN_CMD_ARGS": "--bind=:nonsense"}})
        assert f"{NAME} failed" in said
        eventually(lambda: settled(site))
    assert "STATUS: deployed" in site.ask("status")
    assert version(site) == before
    assert visitors.lost == {}
    assert states(site) == dict.fromkeys(NAMES, "up")


def test_what_is_uninstalled_leaves_its_data_and_finds_them_again(site):
    users = site.get("/mysql").text
    claims = site.claims()
    assert len(claims) == 3
    site.ask("uninstall", "--wait", version=4)
    eventually(lambda: not site.all("Deployment") + site.all("StatefulSet"))
    assert site.claims() == claims
    site.helm("install", "--wait", version=4, platform={"removeData": True})
    assert site.get("/mysql").text == users
    assert states(site) == dict.fromkeys(NAMES, "up")


def test_data_go_where_that_was_asked_for(site):
    site.ask("uninstall")
    eventually(lambda: not site.claims() and not site.volumes())
    kinds = ("ConfigMap", "Job", "Secret", "Service")
    assert {kind: names for kind in kinds if (names := [item["metadata"]["name"] for item in site.all(kind)])} == {}
