"""A site on a cluster whose deployments are cut off or fail, and whose services go away, while it goes on and heals by itself.

The tests share one site; each leaves it as it found it, or the next one says what it needs.
"""

import signal
import time
from types import SimpleNamespace

import pytest
from cluster import ClusterSite
from conftest import eventually
from load import Visitors
from test_faults import NAMES, assert_outage, states

BOUND = 10  # seconds for an answer while a service is down, on a busy machine
SMALL = {
    "autoscaling_enabled": False,
    "django_replicas": 1,
    "nginx_replicas": 1,
    "django_workers": 1,
    "django_cpu_request": "50m",
    "mysql_cpu_request": "50m",
}
PHASES = {  # what there is of the site when a phase has begun, and whose
    "the Secrets": ("Secret", "mysql"),
    "the data stage": ("StatefulSet", "mysql"),
    "the jobs": ("Job", "release"),
    "the web stage": ("Deployment", "django"),
}


@pytest.fixture(scope="module")
def deployed(alone, tmp_path_factory):
    """A site whose first deployment was cut off in each of its phases, and then run to the end twice."""
    with ClusterSite(tmp_path_factory.mktemp("cluster"), "tandem-cluster", 30090, **SMALL) as site:
        site.prepare()
        cut_off = {}
        for phase, (kind, name) in PHASES.items():
            cut_off[phase] = site.deploy()
            cut_off[phase].until(
                lambda kind=kind, name=name: any(item["metadata"]["name"].startswith(name) for item in site.all(kind))
            )
            cut_off[phase].end(signal.SIGINT)
        first = site.deploy().succeeded()
        second = site.deploy().succeeded()
        yield SimpleNamespace(site=site, cut_off=cut_off, first=first, second=second)


@pytest.fixture
def site(deployed):
    """The same, whole and signed in to."""
    eventually(lambda: states(deployed.site) == dict.fromkeys(NAMES, "up"))
    assert "Site administration" in deployed.site.sign_in().text
    return deployed.site


def add_user(site, name):
    """Make a user with the admin's form, and return how many there are, as the site says it."""
    form = site.get("/admin/auth/user/add/")
    fields = {"username": name, "usable_password": "true", "password1": f"{name}-sesame", "password2": f"{name}-sesame"}
    token = {"csrfmiddlewaretoken": site.session.cookies["csrftoken"]}
    assert name in site.session.post(form.url, fields | token, headers={"Referer": form.url}, timeout=60).text
    return site.get("/mysql").text


def test_a_run_that_is_interrupted_at_any_phase_and_run_again(deployed):
    for phase, play in deployed.cut_off.items():
        assert play.process.returncode != 0, phase
        assert "Traceback" not in play.output
        assert "The site is up" not in play.output, phase
    assert f"The site is up: {deployed.site.address}" in deployed.first.said
    assert deployed.second.changed == 0
    assert (
        "This account may not list StorageClasses, so whether the volumes find one is seen when they are made."
        in deployed.first.said
    )


@pytest.mark.parametrize("service", NAMES)
def test_a_service_without_pods(site, service):
    pods = [pod["metadata"]["name"] for pod in site.pods("django")]
    site.scale(service, 0)
    try:
        eventually(lambda: site.get(f"/{service}").status_code == 503)
        assert_outage(site, service, bound=BOUND)
    finally:
        site.scale(service, 1)
    eventually(lambda: states(site) == dict.fromkeys(NAMES, "up"))
    assert site.get(f"/{service}").ok
    assert "Site administration" in site.get("/admin/").text  # nobody was signed out
    assert [pod["metadata"]["name"] for pod in site.pods("django")] == pods


def test_data_survive_killed_pods(site):
    users = add_user(site, "ada")
    before = {pod["metadata"]["uid"] for service in NAMES for pod in site.pods(service)}
    for service in NAMES:
        site.cluster.delete("Pod", f"{service}-0", site.instance, body={"gracePeriodSeconds": 0})
    eventually(lambda: len({pod["metadata"]["uid"] for service in NAMES for pod in site.pods(service)} - before) == len(NAMES))
    eventually(lambda: states(site) == dict.fromkeys(NAMES, "up"))
    assert site.get("/mysql").text == users
    assert "Site administration" in site.get("/admin/").text


def serving(site):
    """Return what serves: the web stage's pods that are ready, and the versions of the data stage."""
    pods = [pod for service in ("django", "nginx") for pod in site.pods(service)]
    ready = {pod["metadata"]["name"] for pod in pods if all(status["ready"] for status in pod["status"]["containerStatuses"])}
    return ready, {key: value for key, value in site.versions().items() if key[0] == "StatefulSet"}


@pytest.mark.parametrize(
    ("variables", "sentences"),
    [
        (
            {"image_offline": True, "image_version": "unpublished"},
            ["The job failed, so the version before goes on serving.", "django:unpublished-", "ImagePull"],
        ),
        ({"nginx_replicas": 2}, ["Deployment/nginx cannot make its pods: ", "exceeded quota: tests"]),
        ({"django_existing_secret": "nowhere"}, ["The job failed", "Pod/release-", 'secret "nowhere" not found The data are']),
    ],
    ids=["an image that is not there", "a quota that is used up", "a Secret that is not there"],
)
def test_a_deployment_that_fails(deployed, site, variables, sentences):
    serve, data = serving(site)
    if "image_version" in variables:
        variables |= {"image_source": "build" if "built from Debian packages" in deployed.first.said else "pull"}
    pods = str(sum(len(site.pods(service)) for service in ("django", "nginx", *NAMES)))
    if "exceeded quota: tests" in sentences:
        site.cluster.create("ResourceQuota", "tests", site.instance, spec={"hard": {"pods": pods}})
        eventually(lambda: site.see("ResourceQuota", "tests")["status"].get("used"))
    try:
        play = site.deploy(**variables).failed()
    finally:
        site.cluster.delete("ResourceQuota", "tests", site.instance)
    for sentence in sentences:
        assert sentence in play.said
    assert "The data are where they were: mend the reason, then run this again." in play.said
    assert "Traceback" not in play.said
    still, same = serving(site)
    assert serve <= still
    assert same == data
    assert site.get().text == "running in production\n"


def test_a_look_at_what_would_change(site):
    before = site.versions()
    play = site.deploy("--check", "--diff", django_log_level="DEBUG", redis_password="another-password").succeeded()
    assert "StatefulSet/redis (now)" in play.output
    assert "Secret/redis-" in play.output
    assert "(not shown)" in play.output
    assert "managedFields" not in play.output
    for secret in [*site.secrets().values(), "another-password"]:
        assert secret not in play.output
    assert site.versions() == before


def test_a_cache_that_is_switched_off_and_on_again(site):
    volumes = site.volumes()
    play = site.deploy(memcached_enabled=False).succeeded()  # the next good one after those that failed
    assert len(site.all("Job")) == 1
    eventually(lambda: len(site.pods("release")) == 1)
    assert not site.see("StatefulSet", "memcached")
    assert not site.see("Service", "memcached")
    assert sorted(site.volumes()) == sorted(volumes)
    assert site.get("/memcached").status_code == 404
    assert "memcached" not in play.said.partition("The site is up:")[2].partition("Images:")[0]

    site.deploy(django_replicas=3).succeeded()
    assert site.get("/memcached").ok
    assert site.see("Deployment", "django")["status"]["readyReplicas"] == 3


def test_autoscaling_that_takes_over(site):
    if site.see("Deployment", "django")["spec"]["replicas"] != 3:
        site.deploy(django_replicas=3).succeeded()
    since = site.see("Deployment", "django")["metadata"]["resourceVersion"]
    scaled = {"autoscaling_enabled": True, "autoscaling_django_minimum": 1, "autoscaling_nginx_minimum": 1, "django_replicas": 3}
    scaled["autoscaling_behavior"] = {"scaleDown": {"selectPolicy": "Disabled"}}  # or it would, for nobody visits the site
    site.deploy(**scaled).succeeded()
    assert site.see("HorizontalPodAutoscaler", "django")
    changes = site.cluster.changes("Deployment", "django", site.instance, since)
    assert changes
    assert {change["spec"]["replicas"] for change in changes} == {3}


@pytest.mark.parametrize("name", ["stripe_secret_key", "mysql_password", "django_secret_key"])
def test_a_secret_that_is_rotated(site, tmp_path, name):
    key = tmp_path / "key"
    key.write_text("sk_test_TakesThePlaceOfTheOneBefore12")
    before, pods = site.secrets(), {pod["metadata"]["uid"] for pod in site.pods("mysql")}
    with Visitors(f"{site.address}/mysql", connections=2, pause=300) as visitors:
        play = site.start("rotate-secrets", "-vvv", "--diff", secrets_rotated=name, secrets_stripe_secret_key_file=str(key))
        answers = []
        while play.process.poll() is None:
            answers += [(site.get("/stripe-test").text, "Site administration" in site.get("/admin/").text)]
            time.sleep(0.5)  # the machine has more to do
    play.succeeded()
    assert visitors.lost == {}
    assert min(visitors.answers.values()) > 100
    assert set(answers) == {("Stripe accepts the key, which is a test key.\n", True)}  # and nobody was signed out

    after = site.secrets()
    assert after[f"vault_{name}"] != before[f"vault_{name}"]
    assert {other for other in before if after[other] != before[other]} <= {f"vault_{name}", "vault_django_secret_key_fallbacks"}
    assert not [value for value in {*before.values(), *after.values()} if value and value in play.output]
    assert {pod["metadata"]["uid"] for pod in site.pods("mysql")} == pods
    if name == "mysql_password":
        ask = "MYSQL_PWD=%s mysql --host=127.0.0.1 --user=site --execute='SELECT 1'"
        assert "Access denied" in site.execute("mysql-0", ask % before["vault_mysql_password"])
        assert "Access denied" not in site.execute("mysql-0", ask % after["vault_mysql_password"])


def test_nothing_to_do_after_rotations(site):
    assert site.deploy().succeeded().changed == 0


def test_a_site_that_is_removed_and_its_data(site):
    users, volumes = add_user(site, "grace"), sorted(site.volumes())
    play = site.start("remove-site").succeeded()
    assert "Its data are kept for the next deployment in data-mysql-0, data-redis-0; -e platform_remove_data=true" in play.said
    assert not site.pods("mysql")
    assert {kind for kind, _ in site.versions()} == {"PersistentVolumeClaim"}
    assert site.start("remove-site").succeeded().changed == 0

    site.deploy().succeeded()
    assert site.get("/mysql").text == users
    assert "Site administration" in site.get("/admin/").text
    assert sorted(site.volumes()) == volumes

    play = site.start("remove-site", platform_remove_data=True).succeeded()
    assert "Nothing of the site runs." in play.said
    assert site.versions() == {}
    eventually(lambda: site.volumes() == [])
