"""What an operator sees of the site in the live Prometheus, and what the site notices of that: nothing.

The tests run in their order, on one site: what is there after a short load first, what happens when something goes last.
"""

import base64
import html
import json
import math
import os
import re
import statistics
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from kubernetes.client import ApiException, AppsV1Api, CoreV1Api
from kubernetes.config import new_client_from_config
from playwright.sync_api import expect, sync_playwright

INSTANCE, PLATFORM, SITE = (os.environ[name] for name in ("INSTANCE", "PLATFORM", "SITE_URL"))
SCREENSHOTS = Path(os.environ["SCREENSHOTS"])
DASHBOARD = json.loads((Path(__file__).parents[2] / "roles/prometheus/files/dashboard.json").read_text())
INTERVAL = 2  # seconds between two looks, as converge.yml has it
NAME = "app.kubernetes.io/name"
VIEWS = {"/": "home", "/mysql": "mysql", "/redis": "redis", "/memcached": "memcached"}
JOBS = {"django": 1, "nginx": 1, "mysql": 1, "redis": 1, "memcached": 1, "prometheus": 1, "volumes": 1}
if PLATFORM == "kubernetes":
    JOBS |= {"django": 2, "volumes": 3}


class Compose:
    """Prometheus as it is published, and the services' containers."""

    def docker(self, *command):
        """Return what a command of the engine prints."""
        return subprocess.run(["docker", *command], check=True, capture_output=True, text=True).stdout

    def ask(self, path, **query):
        """Return an answer of Prometheus as text."""
        answer = requests.get(f"{os.environ['PROMETHEUS_URL']}/{path}", query, timeout=30)
        answer.raise_for_status()
        return answer.text

    def scale(self, service, replicas):
        """Stop a service, or start it again."""
        self.docker("start" if replicas else "stop", f"{INSTANCE}-{service}-1")

    def secret(self, name):
        """Return a secret of Prometheus's."""
        return (Path(os.environ["XDG_STATE_HOME"]) / INSTANCE / "secrets" / name).read_text()

    def containers(self):
        """Return all that run, by name: what the engine tells of each, and whether it can do no more than it should."""
        names = self.docker("ps", "--format={{.Names}}", f"--filter=label=com.docker.compose.project={INSTANCE}").split()
        found = {item["Name"]: item for item in json.loads(self.docker("inspect", *names))}
        return {name: (item, self.bounded(item["HostConfig"], item["Config"]["User"])) for name, item in found.items()}

    def bounded(self, host, user):
        """Tell whether a container's limits are those that every container has."""
        addresses = {address["HostIp"] for addresses in (host["PortBindings"] or {}).values() for address in addresses}
        return (
            host["ReadonlyRootfs"]
            and host["CapDrop"] == ["ALL"]
            and host["SecurityOpt"] == ["no-new-privileges:true"]
            and host["Memory"] > 0
            and user.partition(":")[0] not in ("", "0", "root")
            and addresses <= {"127.0.0.1"}
        )


class Kubernetes:
    """Prometheus as the API's server passes questions on, and the services' pods."""

    def __init__(self):
        self.client = new_client_from_config(os.environ["KUBECONFIG"])

    def ask(self, path, **query):
        """Return an answer of Prometheus as text."""
        path = f"/api/v1/namespaces/{INSTANCE}/services/prometheus:http/proxy/{path}"
        asked = {"query_params": list(query.items()), "auth_settings": ["BearerToken"], "_preload_content": False}
        return self.client.call_api(path, "GET", _request_timeout=30, **asked)[0].data.decode()

    def scale(self, service, replicas):
        """Have no pod of a StatefulSet, or one again."""
        AppsV1Api(self.client).patch_namespaced_stateful_set_scale(service, INSTANCE, {"spec": {"replicas": replicas}})

    def secret(self, name):
        """Return a secret of Prometheus's."""
        (secret,) = CoreV1Api(self.client).list_namespaced_secret(INSTANCE, label_selector=f"{NAME}=prometheus").items
        return base64.b64decode(secret.data[name]).decode()

    def containers(self):
        """Return all of the site's pods, by name: what the API tells of each, and whether it can do no more than it should."""
        pods = CoreV1Api(self.client).list_namespaced_pod(INSTANCE, label_selector=NAME).items
        found = {f"{pod.metadata.name}/{item.name}": item for pod in pods for item in pod.spec.containers}
        return {name: (item.to_dict(), self.bounded(item.security_context, item.resources)) for name, item in found.items()}

    def bounded(self, context, resources):
        """Tell whether a container's limits are those that every container has; for the rest, no other pod is let in."""
        return context.read_only_root_filesystem and context.capabilities.drop == ["ALL"] and "memory" in resources.limits


PROMETHEUS = {"compose": Compose, "kubernetes": Kubernetes}[PLATFORM]()


def query(expression, **more):
    """Return the series that a query has now."""
    return json.loads(PROMETHEUS.ask("api/v1/query", query=expression, **more))["data"]["result"]


def value(expression, **more):
    """Return the one value that a query has now; nothing, where it has none."""
    found = query(expression, **more)
    return float(found[0]["value"][1]) if found else None


def eventually(condition, within):
    """Return the first true answer of a condition, in so many seconds."""
    end = time.monotonic() + within
    while not (answer := attempt(condition)):
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.2)
    return answer


def attempt(condition):
    """Return the answer of a condition; nothing, while Prometheus does not answer."""
    try:
        return condition()
    except (ApiException, requests.RequestException):
        return None


def visit(path="/", method="GET"):
    """Return the answer of the site, as a visitor gets it, and how long it took."""
    answer = requests.request(method, f"{SITE}{path}", timeout=30)
    return answer, answer.elapsed.total_seconds()


def next_look():
    """Wait until Prometheus has looked at all of gunicorn once more."""
    now = time.time()
    eventually(lambda: (value('min(timestamp(up{job="django"}))') or 0) > now, within=30)


@pytest.fixture(scope="module")
def visits():
    """How often each page was asked for; not before Prometheus has seen all that there is to see."""
    eventually(lambda: value("count(up == 1)") == sum(JOBS.values()), within=90)
    next_look()
    before = {view: value(f"{REQUESTS}{{view='{view}'}})") or 0 for view in VIEWS.values()}
    for _ in range(2):  # so that there are rates
        for path in list(VIEWS) * 10:
            assert visit(path)[0].ok
        next_look()
    return before


REQUESTS = "sum(django_http_requests_total_by_view_transport_method_total"


def test_everything_is_seen_and_answers():
    eventually(lambda: value("count(up == 1)") == sum(JOBS.values()), within=90)
    assert {item["metric"]["job"]: int(item["value"][1]) for item in query("count by (job) (up)")} == JOBS
    assert {item["value"][1] for item in query('{__name__=~"(mysql|redis|memcached|nginx)_up"}')} == {"1"}
    assert len(query('{__name__=~"(mysql|redis|memcached|nginx)_up"}')) == 4


def test_each_request_is_counted_once_whichever_worker_of_whichever_pod_served_it(visits):
    for view, before in visits.items():
        assert value(f"{REQUESTS}{{view='{view}'}})") - before == 20
    assert (
        value('count(sum by (instance) (django_http_requests_total_by_view_transport_method_total{view="home"}) > 0)')
        == JOBS["django"]
    )


def queries():
    """Yield all queries of Grafana's dashboard, and those of the page as it is served."""
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    page = PROMETHEUS.ask("consoles/site.html")
    for found in re.findall(r'data-queries="([^"]*)"', page):
        yield from (target["expr"] for target in json.loads(html.unescape(found)))
    yield from (html.unescape(found) for found in re.findall(r'data-marks="([^"]*)"', page))


def test_every_query_of_the_page_and_of_the_dashboard_has_data(visits):
    asked = list(queries())
    assert len(asked) == 2 * len(set(asked))
    for expression in set(asked):
        end = time.time()
        span = {"start": end - 3600, "end": end, "step": INTERVAL}
        found = json.loads(PROMETHEUS.ask("api/v1/query_range", query=expression, **span))["data"]["result"]
        numbers = [float(number) for series in found for _, number in series["values"]]
        assert any(map(math.isfinite, numbers)), expression


def test_the_page_names_what_there_is_without_a_script(visits):
    page = PROMETHEUS.ask("consoles/site.html")
    assert ("No alert: all is as it should be." in page) == (query("ALERTS") == [])
    for words in ("<td>home</td>", "<td>busy</td>", "<td>django, at most</td>", "<td>mysql</td>"):
        assert words in page
    assert "&lt;no value&gt;" not in page


def test_rules_are_healthy_and_know_the_limits():
    groups = json.loads(PROMETHEUS.ask("api/v1/rules"))["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    assert value("site:workers:per_instance") == 2
    limits = {item["metric"]["job"]: item["value"][1] for item in query("site:replicas:maximum")}
    assert limits == ({"django": "10", "nginx": "6"} if PLATFORM == "kubernetes" else {})


def test_strangers_make_no_new_series():
    def series():
        return {json.dumps(item["metric"], sort_keys=True) for item in query('{job="django"}')}

    visit("/first-of-its-kind")
    visit(method="BREW")
    next_look()
    before = series()
    for number in range(20):
        visit(f"/stranger-{number}?{number}={number}")
        visit(method=f"BREW{number}")
    next_look()
    assert not [metric for metric in series() - before if "stranger" in metric or "BREW" in metric]
    assert value("count({__name__!=''})") < 6000


@pytest.mark.parametrize("path", ["/metrics", "/stub_status", "/scrape", "/consoles/site.html", "/api/v1/query?query=up"])
def test_visitors_are_told_nothing_of_it(path):
    assert visit(path)[0].status_code == 404


def test_no_exporter_can_do_more_than_it_should_and_none_tells_a_password():
    containers = PROMETHEUS.containers()
    exporters = [name for name in containers if "exporter" in name]
    assert len(exporters) >= 5
    assert [name for name, (_, bounded) in containers.items() if not bounded] == []
    files = [PROMETHEUS.secret(f"prometheus_{name}") for name in ("mysql.cnf", "root.cnf", "redis.json")]
    passwords = {*re.findall(r'password = "?([^"\n]+)', "".join(files[:2])), *json.loads(files[2]).values()}
    assert len(passwords) == 3
    told = json.dumps(containers, default=str) + PROMETHEUS.ask("api/v1/status/config")
    assert not any(password in told for password in passwords)


def answer(route):
    """Answer a browser with what Prometheus says, however it is reached."""
    url = urlsplit(route.request.url)
    if url.path == "/favicon.ico":
        return route.fulfill(status=204)
    kind = "application/json" if url.path.startswith("/api/") else "text/html"
    return route.fulfill(body=PROMETHEUS.ask(url.path[1:], **dict(parse_qsl(url.query))), content_type=kind)


def test_the_page_in_a_browser(visits):
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route("**", answer)
        page.goto("http://prometheus/consoles/site.html?minutes=2")
        expect(page.locator("svg")).to_have_count(len(DASHBOARD["panels"]))
        page.screenshot(path=SCREENSHOTS / "prometheus.png", full_page=True)
        browser.close()
    assert complaints == []


def test_a_service_that_goes_is_seen_within_two_looks(visits):
    PROMETHEUS.scale("memcached", 0)
    try:
        eventually(lambda: visit("/memcached")[0].status_code == 503, within=30)
        eventually(lambda: value("memcached_up") == 0, within=2 * INTERVAL + 4)  # and its exporter's own patience
        eventually(lambda: value('ALERTS{alertname="MemcachedDown", alertstate="pending"}') == 1, within=2 * INTERVAL)
        assert "MemcachedDown is pending" in PROMETHEUS.ask("consoles/site.html")
        errors = 'sum(rate(django_http_responses_total_by_status_total{status="503"}[1m]))'
        eventually(lambda: visit("/memcached") and (value(errors) or 0) > 0, within=20)
    finally:
        PROMETHEUS.scale("memcached", 1)
    eventually(lambda: value("memcached_up") == 1, within=60)


def pause():
    """Return the median seconds of an answer that no other service has a part in; all answers are good."""
    answers = [visit() for _ in range(60)]
    assert all(answer.ok for answer, _ in answers)
    return statistics.median(seconds for _, seconds in answers)


def test_the_site_does_not_notice_and_nothing_is_forgotten(visits):
    look, counted = time.time() - 2 * INTERVAL, "count_over_time(mysql_up[1m])"  # when all that was seen by then is stored
    remembered = value(counted, time=look)
    assert remembered > 20
    with_it = [pause()]
    PROMETHEUS.scale("prometheus", 0)
    try:
        # The exporters in its pod hear that it is over, too: nothing has to be killed in the end.
        eventually(lambda: not any(re.search(r"(^|-)prometheus-\d", name) for name in PROMETHEUS.containers()), within=30)
        without = pause()
    finally:
        PROMETHEUS.scale("prometheus", 1)
    eventually(lambda: value("count(up == 1)") == sum(JOBS.values()), within=120)
    assert value(counted, time=look) == remembered
    with_it.append(pause())
    assert min(with_it) < 2 * without
