"""Services that are down, that hang and that come back."""

import time

import pytest
from conftest import cache_at
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.cache import caches

NAMES = {"redis": "Redis", "memcached": "Memcached"}
TIMEOUT = 0.3  # what the tests grant a cache instead of two seconds
SLACK = 2.0  # for a busy machine, and for the second that a check's own client may be late

ON_MYSQL = django_settings.DATABASES["default"]["ENGINE"].endswith("mysql")
DATABASE_NAME = "MySQL" if ON_MYSQL else "SQLite"

each_cache = pytest.mark.parametrize("service", ["redis", "memcached"])


@pytest.fixture
def down(use_caches, closed_port):
    return lambda *services: use_caches(**variables(services, closed_port))


@pytest.fixture
def hanging(use_caches, settings, silent_port):
    settings.CACHE_TIMEOUT_SECONDS = TIMEOUT
    return lambda *services: use_caches(CACHE_TIMEOUT_SECONDS=TIMEOUT, **variables(services, silent_port))


def variables(services, port):
    return {name: value for service in services for name, value in cache_at(service, port).items()}


@each_cache
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json"])
def test_a_cache_that_is_down(client, down, monkeypatch, service, accept):
    monkeypatch.setenv("REDIS_PASSWORD", "open-sesame")
    down(service)
    response = client.get(f"/{service}", headers={"accept": accept})
    assert response.status_code == 503
    assert response["Retry-After"]
    assert f"{NAMES[service]} is not available at the moment." in response.text
    assert "Traceback" not in response.text
    assert "open-sesame" not in response.text


@each_cache
def test_a_cache_that_hangs(client, hanging, service):
    hanging(service)
    start = time.monotonic()
    response = client.get(f"/{service}")
    assert time.monotonic() - start < TIMEOUT + SLACK
    assert response.status_code == 503
    assert response.text == f"{NAMES[service]} is not available at the moment.\n"


@each_cache
def test_every_request_asks_again(client, down, service):
    """The client library keeps count of failures, and for a while would take a miss for an answer."""
    down(service)
    assert [client.get(f"/{service}").status_code for _ in range(5)] == [503] * 5


@each_cache
@pytest.mark.real_caches
def test_a_cache_that_comes_back(client, use_caches, relay, service):
    use_caches(**cache_at(service, relay.port))
    caches[service].clear()
    for _ in range(2):
        assert client.get(f"/{service}").status_code == 200
        relay.cut()
        assert client.get(f"/{service}").status_code == 503
        relay.mend()
    assert client.get(f"/{service}").status_code == 200


@pytest.mark.django_db
def test_the_status_page_says_who_is_down(client, down):
    down("redis", "memcached")
    response = client.get("/", headers={"accept": "application/json"})
    assert response.status_code == 200
    status = response.json()
    assert {slug: service["state"] for slug, service in status["services"].items()} == {
        "mysql": "up",
        "redis": "down",
        "memcached": "down",
    }
    assert status["summary"] == "Redis and Memcached are down."
    assert client.get("/", headers={"accept": "text/html"}).text.count('data-state="down"') == 2


@pytest.mark.django_db
def test_the_status_page_waits_for_all_at_once(client, hanging):
    hanging("redis", "memcached")
    start = time.monotonic()
    status = client.get("/", headers={"accept": "application/json"}).json()
    assert time.monotonic() - start < TIMEOUT + SLACK
    assert status["summary"] == "Redis and Memcached are down."


@pytest.mark.django_db
def test_the_rest_goes_on_without_caches(client, down):
    down("redis", "memcached")
    assert [client.get(path).status_code for path in ("/", "/mysql", "/healthz", "/readyz")] == [200] * 4


@pytest.mark.django_db
def test_an_outage_of_redis_signs_nobody_out(client, settings, both_caches, down):
    client.force_login(User.objects.create_superuser("ada"))
    assert client.get("/admin/").status_code == 200

    working = settings.CACHES
    down("redis")
    response = client.get("/admin/")
    assert (response.status_code, response.text) == (503, "Redis is not available at the moment.\n")
    assert not response.cookies
    assert client.get("/").status_code == 200

    settings.CACHES = working
    assert client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_a_session_that_cannot_be_saved(client, down):
    """Fails in a middleware, where no view's exception handler reaches."""
    User.objects.create_superuser("ada", password="correct horse")
    down("redis")
    response = client.post("/admin/login/", {"username": "ada", "password": "correct horse"})
    assert (response.status_code, response.text) == (503, "Redis is not available at the moment.\n")


@pytest.fixture(params=["closed", "silent"] if ON_MYSQL else ["unopenable"])
def broken_database(request, tmp_path):
    """DATABASE_URL of a database that cannot be had."""
    if request.param == "unopenable":
        return f"sqlite:///{tmp_path}/no/such/directory/db.sqlite3"
    port = request.getfixturevalue(f"{request.param}_port")
    return f"mysql://tandem@127.0.0.1:{port}/tandem"


def test_a_database_that_is_down(serve, broken_database):
    site = serve(
        DATABASE_URL=broken_database,
        DATABASE_PASSWORD="open-sesame",
        DATABASE_TIMEOUT=1,
        DATABASE_READ_TIMEOUT=1,
        REDIS_ENABLED="",
        MEMCACHED_ENABLED="",
    )
    assert site.get("/healthz").status == 200
    assert site.get("/").text.startswith("running in ")
    sentence = f"{DATABASE_NAME} is not available at the moment.\n"
    for path in ("/mysql", "/readyz"):
        start = time.monotonic()
        response = site.get(path)
        assert time.monotonic() - start < 1 + 1 + SLACK
        assert (response.status, response.text) == (503, sentence)
    response = site.get("/admin/", Cookie="sessionid=abcdefghijklmnopqrstuvwxyz012345")
    assert (response.status, response.text) == (503, sentence)
    assert f"{DATABASE_NAME} is down." in site.get("/", Accept="text/html").text

    log = site.stop()
    assert "Traceback" not in log
    assert "open-sesame" not in log
