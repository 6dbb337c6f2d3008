"""What the pages answer, and in which form."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import connection

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

pytestmark = pytest.mark.django_db


def get(client, path, accept="*/*"):
    return client.get(path, headers={"accept": accept})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "text/plain"),
        ("", "text/plain"),
        ("nonsense", "text/plain"),
        ("image/png", "text/plain"),
        ("text/*", "text/plain"),
        (BROWSER, "text/html"),
        ("text/html;q=0.4, text/plain;q=0.5", "text/plain"),
        ("application/json", "application/json"),
        ("application/json;q=0.5, text/html", "text/html"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/mysql", "/redis", "/memcached", "/healthz", "/readyz", "/missing"])
def test_the_client_chooses_the_form(client, both_caches, path, accept, expected):
    response = get(client, path, accept)
    assert response["Content-Type"].partition(";")[0] == expected
    assert response["Vary"] == "Accept"
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/mysql", "/redis", "/memcached", "/healthz", "/readyz"])
def test_pages_are_for_reading(client, both_caches, path):
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 405


@pytest.mark.parametrize("environment", ["local", "production"])
def test_home_in_a_terminal(client, settings, environment):
    settings.SITE_ENVIRONMENT = environment
    response = get(client, "/")
    assert response.status_code == 200
    assert response.text == f"running in {environment}\n"


def test_home_for_a_program(client, both_caches, settings):
    settings.SITE_ENVIRONMENT = "local"
    status = get(client, "/", "application/json").json()
    assert status["environment"] == "local"
    assert status["summary"] == "All services are up."
    assert list(status["services"]) == ["mysql", "redis", "memcached"]
    for service in status["services"].values():
        assert service["state"] == "up"
        assert service["latency_ms"] >= 0
        assert datetime.now(UTC) - datetime.fromisoformat(service["checked_at"]) < timedelta(seconds=5)


def test_home_in_a_browser(client, both_caches, settings):
    settings.SITE_ENVIRONMENT = "local"
    page = get(client, "/", BROWSER).text
    assert "<h1>running in local</h1>" in page
    assert page.count('data-state="up"') == 3
    assert page.count('data-field="state">up<') == 3
    assert len(re.findall(r"\d+\.\d ms", page)) == 3
    assert 'http-equiv="refresh"' in page


def test_what_is_switched_off_is_shown_as_off(client, use_caches):
    use_caches(REDIS_ENABLED=None, MEMCACHED_ENABLED=None)
    status = get(client, "/", "application/json").json()
    assert status["services"]["redis"] == {"name": "Redis", "state": "off"}
    assert status["services"]["memcached"] == {"name": "Memcached", "state": "off"}
    assert status["summary"] == "All services that are switched on are up."
    assert get(client, "/", BROWSER).text.count('data-state="off"') == 2


def test_pages_need_nothing_that_their_policy_forbids(client, both_caches):
    for path in ("/", "/mysql", "/redis", "/missing"):
        response = get(client, path, BROWSER)
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert not re.search(r"<style|style=|<script(?! src)| on\w+=|https?://", response.text)


@pytest.mark.parametrize(("users", "words"), [(0, "0 users"), (1, "1 user"), (2, "2 users")])
def test_mysql_counts_users(client, users, words):
    for number in range(users):
        User.objects.create_user(f"user{number}")
    response = get(client, "/mysql")
    assert response.status_code == 200
    assert re.fullmatch(rf"{connection.display_name} [\d.]+ answers and holds {words}\.\n", response.text)
    assert get(client, "/mysql", "application/json").json()["users"] == users
    assert words in get(client, "/mysql", BROWSER).text


@pytest.mark.parametrize("service", ["redis", "memcached"])
def test_the_time_is_kept_for_ten_seconds(client, both_caches, service):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    first = get(client, f"/{service}").text
    assert before <= datetime.fromisoformat(first.strip()) <= datetime.now(UTC)
    assert get(client, f"/{service}").text == first
    answer = get(client, f"/{service}", "application/json").json()
    assert answer["filled_at"] == first.strip()
    assert answer["kept_seconds"] == 10
    assert first.strip() in get(client, f"/{service}", BROWSER).text

    caches[service].delete("status:filled-at")
    assert get(client, f"/{service}").text > first


@pytest.mark.real_caches
def test_redis_forgets_after_ten_seconds(client, both_caches):
    get(client, "/redis")
    assert 9 <= caches["redis"].ttl("status:filled-at") <= 10


def test_each_cache_is_its_own(client, both_caches):
    get(client, "/redis")
    assert caches["memcached"].get("status:filled-at") is None


@pytest.mark.parametrize(("service", "name"), [("redis", "Redis"), ("memcached", "Memcached")])
def test_a_cache_that_is_off_says_how_to_switch_it_on(client, use_caches, service, name):
    use_caches(**{f"{service.upper()}_ENABLED": "no"})
    sentence = f"{name} is switched off: set {service.upper()}_ENABLED=enabled to switch it on."
    response = get(client, f"/{service}")
    assert response.status_code == 404
    assert response.text == f"{sentence}\n"
    assert get(client, f"/{service}", "application/json").json() == {"error": sentence}
    assert sentence in get(client, f"/{service}", BROWSER).text


def test_unknown_pages(client):
    response = get(client, "/nowhere")
    assert (response.status_code, response.text) == (404, "There is no such page.\n")
    assert "<h1>Not found</h1>" in get(client, "/nowhere", BROWSER).text


def test_probes_come_by_any_name(client):
    for path in ("/healthz", "/readyz", "/metrics"):
        assert client.get(path, headers={"host": "10.1.2.3:8000"}).status_code == 200
    assert client.get("/", headers={"host": "10.1.2.3:8000"}).status_code == 400


def test_signing_in(client, both_caches):
    User.objects.create_superuser("ada", password="correct horse")
    page = client.get("/admin/login/")
    assert "Tandem" in page.text
    signed_in = client.post("/admin/login/?next=/admin/", {"username": "ada", "password": "correct horse"}, follow=True)
    assert signed_in.status_code == 200
    assert "Site administration" in signed_in.text


def test_request_ids(client):
    assert client.get("/", headers={"x-request-id": "from-nginx.1"})["X-Request-ID"] == "from-nginx.1"
    made = client.get("/", headers={"x-request-id": 'bad"id'})["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert client.get("/")["X-Request-ID"] != made


def test_invented_methods_are_not_counted_apart(client):
    client.generic("BREW", "/")
    metrics = client.get("/metrics").text
    assert 'method="<invalid method>",view="home"' in metrics
    assert "BREW" not in metrics
    assert json.dumps("/metrics") not in metrics
