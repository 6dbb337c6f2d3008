"""Services that are stopped, hang, are switched off or start slowly, while the site goes on and heals by itself."""

import datetime
import time
from types import SimpleNamespace

import pytest
from conftest import docker, eventually

NAMES = {"mysql": "MySQL", "redis": "Redis", "memcached": "Memcached"}
CONNECT, READ, PROXY = 1, 3, 12  # seconds that the site waits for a service, for MySQL's answer, and nginx for the site
SLACK = 5  # for a busy machine
LONG = 40  # seconds: ten more than a health check would bear without a start period

each_service = pytest.mark.parametrize("service", NAMES)


@pytest.fixture(scope="module")
def sites(new_site):
    """Two at once: one to harm, and one without caches whose MySQL hardly gets any time of the processor at its first start."""
    timeouts = {"DATABASE_TIMEOUT": f"{CONNECT}", "CACHE_TIMEOUT_SECONDS": f"{CONNECT}", "DATABASE_READ_TIMEOUT": f"{READ}"}
    harmed = new_site("faults", django_environment=timeouts, nginx_proxy_read_timeout=f"{PROXY}s")
    slow = new_site("faults-slow", redis_enabled=False, memcached_enabled=False)
    slow_play, harmed_play = slow.deploy(), harmed.deploy()
    slow_play.until(lambda: slow.inspect("mysql", ".State.Running") == "true")
    docker("update", "--cpus", "0.02", slow.container("mysql"))
    harmed_play.succeeded()
    return SimpleNamespace(harmed=harmed, slow=slow, slow_play=slow_play)


@pytest.fixture
def site(sites):
    """The one to harm, whole and signed in to."""
    eventually(lambda: states(sites.harmed) == dict.fromkeys(NAMES, "up"))
    assert "Site administration" in sites.harmed.sign_in().text
    return sites.harmed


def states(site):
    """The state of each service, as the site tells it to programs; nothing while it cannot."""
    answer = site.get(accept="application/json")
    return answer.ok and {slug: service["state"] for slug, service in answer.json()["services"].items()}


def seconds(action, *arguments):
    """Return what an action returns, and how long it took."""
    start = time.monotonic()
    return action(*arguments), time.monotonic() - start


def assert_outage(site, service, bound):
    """One sentence in every form that names the service, in bounded time, and everything else goes on."""
    for accept in ("*/*", "text/html", "application/json"):
        answer, took = seconds(site.get, f"/{service}", accept)
        assert took < bound
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert f"{NAMES[service]} is not available at the moment." in answer.text
        assert "Traceback" not in answer.text
    assert site.get(f"/{service}").text == f"{NAMES[service]} is not available at the moment.\n"

    assert site.get("/").text == f"running in {site.inventory}\n"
    page, took = seconds(site.get, "/", "text/html")
    assert took < bound
    assert f"{NAMES[service]} is down." in page.text
    assert states(site) == {name: "down" if name == service else "up" for name in NAMES}
    for other in {"healthz", *NAMES} - {service}:
        assert site.get(f"/{other}").status_code == 200, other


@each_service
def test_a_service_that_is_stopped(site, service):
    started = site.inspect("django", ".State.StartedAt")
    docker("stop", site.container(service))
    assert_outage(site, service, bound=CONNECT + SLACK)
    if service != "memcached":  # sessions and users
        answer = site.get("/admin/")
        assert (answer.status_code, answer.text) == (503, f"{NAMES[service]} is not available at the moment.\n")

    docker("start", site.container(service))
    eventually(lambda: site.get(f"/{service}").ok)
    eventually(lambda: states(site) == dict.fromkeys(NAMES, "up"))
    assert "Site administration" in site.get("/admin/").text  # nobody was signed out
    assert site.inspect("django", ".State.StartedAt") == started


@each_service
def test_a_service_that_hangs(site, service):
    started = site.inspect("django", ".State.StartedAt")
    docker("pause", site.container(service))
    try:
        assert_outage(site, service, bound=(READ if service == "mysql" else 0) + CONNECT + SLACK)
    finally:
        docker("unpause", site.container(service))
    eventually(lambda: states(site) == dict.fromkeys(NAMES, "up"))
    assert site.get(f"/{service}").ok
    assert site.inspect("django", ".State.StartedAt") == started


def test_a_worker_of_gunicorn_that_is_killed(site):
    def workers():
        return docker("exec", site.container("django"), "sh", "-c", "cat /proc/1/task/1/children").split()

    before, started = workers(), site.inspect("django", ".State.StartedAt")
    docker("exec", site.container("django"), "sh", "-c", f"kill -KILL {before[0]}")
    eventually(lambda: len(now := workers()) == len(before) and before[0] not in now)
    assert [site.get("/").status_code for _ in range(10)] == [200] * 10
    assert site.inspect("django", ".State.StartedAt") == started


def test_gunicorn_that_is_killed(site):
    image, process = site.inspect("django", ".Config.Image"), site.inspect("django", ".State.Pid")
    docker("run", "--rm", "--pid=host", "--user=0", image, "sh", "-c", f"kill -KILL {process}")
    eventually(lambda: site.inspect("django", ".RestartCount") == "1")
    eventually(lambda: site.get("/mysql").ok)


def test_nginx_while_django_is_away(site):
    sentence = "The site does not answer at the moment; try again in a few seconds.\n"
    docker("pause", site.container("django"))
    try:
        answer, took = seconds(site.get)
    finally:
        docker("unpause", site.container("django"))
    assert (answer.status_code, answer.text) == (503, sentence)
    assert took < PROXY + SLACK

    docker("stop", site.container("django"))
    answer = site.get()
    assert (answer.status_code, answer.text) == (503, sentence)
    assert answer.headers["Retry-After"]
    docker("start", site.container("django"))
    eventually(lambda: site.get().ok)


def test_a_slow_first_start_of_mysql(sites):
    started = datetime.datetime.fromisoformat(sites.slow.inspect("mysql", ".State.StartedAt"))
    patience = datetime.timedelta(seconds=LONG)
    eventually(lambda: datetime.datetime.now(datetime.UTC) - started > patience)
    assert sites.slow.inspect("mysql", ".State.Health.Status") == "starting"
    assert sites.slow_play.process.poll() is None
    docker("update", "--cpus", "1", sites.slow.container("mysql"))
    sites.slow_play.succeeded()
    assert sites.slow.get("/mysql").ok


@pytest.mark.parametrize("service", ["redis", "memcached"])
def test_a_cache_that_is_switched_off(sites, service):
    sentence = f"{NAMES[service]} is switched off: set {service.upper()}_ENABLED=enabled to switch it on."
    answer = sites.slow.get(f"/{service}")
    assert (answer.status_code, answer.text) == (404, f"{sentence}\n")
    assert sites.slow.get(f"/{service}", accept="application/json").json() == {"error": sentence}
    assert sites.slow.inspect(service, ".Id") == ""
    assert states(sites.slow) == {"mysql": "up", "redis": "off", "memcached": "off"}


def test_sessions_without_redis(sites):
    assert "Site administration" in sites.slow.sign_in().text
    assert "Site administration" in sites.slow.get("/admin/").text


def test_data_survive_a_removal(sites):
    site = sites.slow
    make = "from django.contrib.auth.models import User; User.objects.create_user('ada')"
    docker("exec", site.container("django"), "python", "-m", "django", "shell", "--command", make)
    assert "holds 2 users" in site.get("/mysql").text

    play = site.start("remove-site").succeeded()
    volume = f"{site.instance}_mysql-data"
    assert f"Nothing of the site runs. Its data are kept for the next `make local` in {volume}" in play.said
    assert site.remains()[("rm", "--force", "--volumes")] == []
    assert site.remains()[("volume", "rm")] == [volume]
    assert not site.project.exists()

    site.deploy(redis_enabled=True).succeeded()
    assert "holds 2 users" in site.get("/mysql").text
    assert site.get("/redis").ok
    assert "Site administration" in site.sign_in().text
