"""The site under gunicorn, and its commands: as processes of their own."""

import json
import re
import subprocess
import sys

import pytest
from conftest import SITE, cache_at
from django.core.management.utils import get_random_secret_key


def log_lines(log):
    return [json.loads(line) for line in log.splitlines()]


def test_one_json_line_per_request(serve):
    site = serve()
    response = site.get("/?token=open-sesame", **{"X-Request-ID": "abc-123"})
    assert response.headers["X-Request-ID"] == "abc-123"
    for path in ("/healthz", "/readyz", "/metrics"):
        site.get(path)
    site.get("/nowhere")

    log = site.stop()
    assert "open-sesame" not in log
    requests = [line for line in log_lines(log) if line["logger"] == "status.requests"]
    assert [(line["path"], line["status"]) for line in requests] == [("/", 200), ("/nowhere", 404)]
    assert requests[0]["request_id"] == "abc-123"
    assert requests[0]["method"] == "GET"
    assert requests[0]["duration_ms"] >= 0
    assert {"timestamp", "level", "event"} <= requests[0].keys()


def test_an_outage_is_one_line_with_the_request_id(serve, closed_port):
    site = serve(REDIS_PASSWORD="sesame", **cache_at("redis", closed_port))
    assert site.get("/redis", **{"X-Request-ID": "abc-123"}).status == 503
    log = site.stop()
    outages = [line for line in log_lines(log) if line["event"] == "outage"]
    assert [(line["service"], line["request_id"]) for line in outages] == [("Redis", "abc-123")]
    assert "refused" in outages[0]["reason"]
    assert "sesame" not in log


def test_an_unexpected_error_is_logged_and_not_shown(serve, tmp_path):
    (tmp_path / "broken_site.py").write_text(
        "from config.settings import *\n"
        "MIDDLEWARE = [*MIDDLEWARE, 'broken_site.fail']\n"
        "def fail(get_response):\n"
        "    def middleware(request):\n"
        "        raise ValueError('open-sesame')\n"
        "    return middleware\n"
    )
    site = serve(DJANGO_SETTINGS_MODULE="broken_site", PYTHONPATH=tmp_path)
    for accept in ("*/*", "text/html", "application/json"):
        response = site.get("/", Accept=accept)
        assert response.status == 500
        assert "Something went wrong here" in response.text
        assert "Traceback" not in response.text
        assert "open-sesame" not in response.text
    lines = log_lines(site.stop())
    assert any("ValueError: open-sesame" in line.get("exception", "") for line in lines)


def test_metrics_of_all_workers(serve, tmp_path):
    (tmp_path / "counter_1.db").write_bytes(b"left by a run before")
    site = serve(workers=2, PROMETHEUS_MULTIPROC_DIR=tmp_path)
    for _ in range(20):
        site.get("/")
    counts = set()
    for _ in range(10):
        counts.add(re.search(r'responses_total_by_status_total\{status="200"\} (\S+)', site.get("/metrics").text)[1])
    assert counts == {"20.0"}


def test_serving_without_a_key(serve):
    site = serve(SECRET_KEY="")
    sentence = "SECRET_KEY is not set: set it, or name a file that holds it in SECRET_KEY_FILE.\n"
    assert site.ended() == sentence
    assert site.process.returncode == 1


def test_any_wsgi_server_without_a_key():
    environment = {"PATH": "", "SECRET_KEY": ""}
    command = [sys.executable, "-c", "import config.wsgi"]
    result = subprocess.run(command, cwd=SITE, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("SECRET_KEY is not set")


@pytest.mark.parametrize("command", ["check", "makemigrations --check", "collectstatic --dry-run --noinput"])
def test_commands_need_nothing_set(manage, command):
    result = manage(*command.split())
    assert result.returncode == 0, result.stderr


def test_migrate_needs_nothing_but_a_place(manage, tmp_path):
    result = manage("migrate", DATABASE_URL=f"sqlite:///{tmp_path}/db.sqlite3")
    assert result.returncode == 0, result.stderr


def test_ready_for_https(manage):
    secure = {"HTTPS_ENABLED": "true", "SECRET_KEY": get_random_secret_key(), "ALLOWED_HOSTS": "tandem.example"}
    result = manage("check", "--deploy", "--fail-level", "WARNING", **secure)
    assert result.returncode == 0, result.stderr


def test_a_fresh_checkout_is_told_to_migrate(serve, tmp_path):
    site = serve(DATABASE_URL=f"sqlite:///{tmp_path}/db.sqlite3", REDIS_ENABLED="", MEMCACHED_ENABLED="")
    response = site.get("/mysql")
    assert response.status == 503
    assert response.text == "SQLite answers, but has no tables yet: run `python manage.py migrate`.\n"


def test_collected_static_files_have_hashed_names(serve, manage, tmp_path):
    collected = manage("collectstatic", "--noinput", STATIC_ROOT=str(tmp_path))
    assert collected.returncode == 0, collected.stderr
    page = serve(STATIC_ROOT=tmp_path).get("/nowhere", Accept="text/html").text
    name = re.search(r'/static/(site\.[0-9a-f]{12}\.css)"', page)[1]
    assert (tmp_path / name).is_file()
