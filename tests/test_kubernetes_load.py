"""A site on a cluster under load: no release, crash or drain loses a request, no crash a row, and each tier scales by itself.

The tests share one site, and what they measure is in .artifacts/load.json.
"""

import json
import threading
import time
from itertools import pairwise

import pytest
import yaml
from cluster import ClusterSite
from conftest import ROOT, eventually
from load import Load, Visitors
from test_faults import NAMES, states

TIERS = ["django", "nginx"]
ROWS = ROOT / "tests/rows.py"
DEFAULTS = yaml.safe_load((ROOT / "roles/autoscaling/defaults/main.yml").read_text())
FEW = 2  # pods of each tier, until they are to scale
LATE = 20  # samples, of a second each: metrics-server's ten, the autoscaler's five, and a busy machine
MANY = 6
EAGER, SPARING = 100, 300  # milliseconds between two requests on a connection; a play beside them needs a processor, too
SMALL = {
    "autoscaling_django_maximum": FEW,
    "autoscaling_nginx_maximum": FEW,
    "django_cpu_request": "100m",
    "nginx_cpu_request": "20m",
    "mysql_cpu_request": "50m",
    "stripe_enabled": False,  # which has no part in any of it
    "localstripe_enabled": False,
    # Back as fast as there; production takes its time.
    "autoscaling_behavior": DEFAULTS["autoscaling_behavior"]
    | {"scaleDown": {"stabilizationWindowSeconds": 15, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}},
}


@pytest.fixture(scope="module")
def site(alone, tmp_path_factory):
    """One with two pods of each tier."""
    with ClusterSite(tmp_path_factory.mktemp("load"), "tandem-load", 30092, **SMALL) as site:
        site.prepare()
        site.deploy().succeeded()
        yield site


@pytest.fixture(scope="module")
def measured():
    """What is measured, for whoever wants to see it."""
    figures = {}
    yield figures
    (ROOT / ".artifacts").mkdir(exist_ok=True)
    (ROOT / ".artifacts/load.json").write_text(json.dumps(figures, indent=1))


def uids(site):
    """Return what tells the web stage's pods from others of the same name."""
    return {pod["metadata"]["uid"] for tier in TIERS for pod in site.pods(tier)}


def settled(site):
    """Tell whether both tiers are as they should be, and nobody is on the way out."""
    for tier in TIERS:
        deployment = site.see("Deployment", tier)
        status, wanted = deployment["status"], deployment["spec"]["replicas"]
        counts = [status.get(f"{sort}Replicas") for sort in ("updated", "ready", "available")]
        if status["observedGeneration"] < deployment["metadata"]["generation"] or counts != [wanted] * 3:
            return False
        if len(site.cluster.all("Pod", namespace=site.instance, label_selector=f"app.kubernetes.io/name={tier}")) != wanted:
            return False
    return True


def version(site):
    """Return what the web stage runs, and with which configuration and secrets."""
    pods = [pod for tier in TIERS for pod in site.pods(tier)]
    return {
        (
            pod["metadata"]["labels"]["pod-template-hash"],
            pod["spec"]["containers"][0]["image"],
            json.dumps(pod["spec"]["volumes"]),
        )
        for pod in pods
    }


@pytest.mark.parametrize(
    ("variables", "sentences"),
    [
        (
            {"django_environment": {"GUNICORN_CMD_ARGS": "--bind=:nonsense"}, "django_workers": 3},
            ["The site did not come up."],
        ),
        (
            {
                "django_environment": {"REDIS_URL": "redis://nowhere:6379/0"},
                "memcached_enabled": False,
            },
            ['The site does not answer as it should: {address}/redis says 503, "Redis is not available at the moment."'],
        ),
        (
            {"django_release_command": ["python", "-c", "raise SystemExit('no such column')"], "django_log_level": "DEBUG"},
            [
                "The job failed, so the version before goes on serving.",
                "failed: Job has reached the",
                ": no such column The data are",
            ],
        ),
    ],
    ids=["one that cannot start", "one that fails verification", "one whose migration fails"],
)
def test_a_release_that_fails(site, variables, sentences):
    before, objects = version(site), set(site.versions())
    with Visitors(site.address, pause=SPARING) as visitors:
        play = site.deploy(**variables).failed()
        eventually(lambda: settled(site))
    for sentence in sentences:
        assert sentence.format(address=site.address) in play.said
    assert "What serves is the version before; the reason is above: mend it, then run this again." in play.said
    assert version(site) == before
    assert {name for name in objects if name[0] != "Job"} <= set(site.versions())
    assert visitors.lost == {}
    eventually(lambda: states(site) == dict.fromkeys(NAMES, "up"))


def delete_pods(site):
    """Delete a pod of each tier."""
    for tier in TIERS:
        site.cluster.delete("Pod", site.pods(tier)[0]["metadata"]["name"], site.instance)


def evict_pods(site):
    """Have a pod of each tier evicted, and not another one before there is one in its place."""
    for tier in TIERS:
        first, second = [pod["metadata"]["name"] for pod in site.pods(tier)]
        assert site.cluster.evict(first, site.instance) == 201
        assert site.cluster.evict(second, site.instance) == 429


def deploy(**variables):
    """Have a release made."""
    return lambda site: site.deploy(**variables).succeeded()


EVENTS = {  # and how long a visitor pauses meanwhile
    "a new image": (deploy(image_version="two"), SPARING),
    "a changed setting and a changed Secret": (
        deploy(django_secret_key="another one", django_workers=1, nginx_worker_processes=1),
        SPARING,
    ),
    "deleted pods": (delete_pods, EAGER),
    "an eviction": (evict_pods, EAGER),
}


@pytest.mark.parametrize("event", EVENTS)
def test_no_request_is_lost(site, measured, event):
    before, (happens, pause) = uids(site), EVENTS[event]
    with Visitors(site.address, pause=pause) as visitors:
        happens(site)
        eventually(lambda: settled(site))
    assert uids(site) - before
    assert visitors.lost == {}
    assert min(visitors.answers.values()) > 200
    measured.setdefault("answers", {})[event] = visitors.answers


def test_caches_that_are_killed_harm_nobody_else(site, measured):
    measured["recovery"] = {name: [] for name in NAMES}
    with Visitors(f"{site.address}/mysql", pause=SPARING) as visitors:
        for service in ["redis", "memcached"] * 3:
            killed = kill(site, service)
            eventually(lambda service=service: site.get(f"/{service}").ok)
            measured["recovery"][service].append(time.time() - killed)
    assert visitors.lost == {}


def kill(site, service):
    """Kill a service's pod, wait until there is another one, and return when it was killed."""
    name, before, killed = f"{service}-0", site.pods(service)[0]["metadata"]["uid"], time.time()
    site.cluster.delete("Pod", name, site.instance, body={"gracePeriodSeconds": 0})
    eventually(lambda: any(ready(pod) for pod in site.pods(service) if pod["metadata"]["uid"] != before))
    return killed


def ready(pod):
    """Tell whether a pod's containers are ready."""
    return all(container["ready"] for container in pod["status"].get("containerStatuses", [{"ready": False}]))


def test_nothing_acknowledged_is_missing(site, measured):
    site.run("writer", ROWS, "write")
    eventually(lambda: "stored 100 " in said(site, "writer"))
    kills = []
    for _ in range(4):
        kills.append(kill(site, "mysql"))
        eventually(lambda: acknowledged(site, tailLines=1)[-1][1] > kills[-1] + 2)  # it writes again
    rows = acknowledged(site)
    site.run("reader", ROWS, "read")
    eventually(lambda: site.see("Pod", "reader")["status"]["phase"] == "Succeeded")  # or half of it would be read
    assert len(rows) > 500
    assert {number for number, _ in rows} <= {int(number) for number in said(site, "reader").split()[1:]}

    pauses = [(after - before, before) for (_, before), (_, after) in pairwise(rows)]
    spans = pairwise([*kills, time.time()])
    measured["recovery"]["mysql"] = [max(pause for pause, since in pauses if start - 1 < since < end) for start, end in spans]
    site.cluster.delete("Pod", "writer", site.instance)


def said(site, pod, **query):
    """Return what a pod has written so far; nothing before it runs."""
    return site.log(pod, **query) if site.see("Pod", pod)["status"]["phase"] in ("Running", "Succeeded") else ""


def acknowledged(site, **query):
    """Return the rows of which the writer was told that they are stored, and when it was."""
    lines = [line.split() for line in said(site, "writer", **query).splitlines() if line.startswith("stored ")]
    return [(int(number), float(when)) for _, number, when in lines]


class Watch(threading.Thread):
    """Notes every second how many pods of each tier there should be, and how many are ready."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self.site = site
        self.over = threading.Event()
        self.samples = []

    def run(self):
        while not self.over.wait(1):
            tiers = {tier: self.site.see("Deployment", tier) for tier in TIERS}
            counts = {tier: [item["spec"]["replicas"], item["status"].get("readyReplicas", 0)] for tier, item in tiers.items()}
            self.samples.append({"time": time.time(), **counts})

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def steady(self, tier, seconds=15):
        """Tell whether a tier has been as it should be, and the same, for so long."""
        recent = [sample[tier] for sample in self.samples if sample["time"] > time.time() - seconds]
        return len(recent) > seconds / 2 and len({tuple(counts) for counts in recent}) == 1 and recent[0][0] == recent[0][1]

    def wanted(self, tier, since, until):
        """Return how many pods of a tier there should have been in some time."""
        return [sample[tier][0] for sample in self.samples if since < sample["time"] < until]


def test_each_tier_scales_by_itself(site, measured):
    for tier in TIERS:
        site.cluster.patch("HorizontalPodAutoscaler", tier, site.instance, spec={"maxReplicas": MANY})
    page = site.get("/", "text/html").text
    style = next(part for part in page.split('"') if part.startswith("/static/") and part.endswith(".css"))
    heavy = {"django": Load(f"{site.address}/", "Accept: text/html", connections=10, pause=250)}
    heavy["nginx"] = Load(f"{site.address}{style}", connections=40, pause=20)
    spans = {}
    with Visitors(site.address, connections=2, pause=400) as visitors, Watch(site) as watch:
        eventually(lambda: all(watch.steady(tier, 8) and watch.samples[-1][tier] == [FEW, FEW] for tier in TIERS))
        for tier, load in heavy.items():
            start = time.time()
            with load:
                eventually(lambda tier=tier: watch.samples[-1][tier][1] > FEW)
                eventually(lambda tier=tier: watch.steady(tier))
            spans[tier] = start, time.time()
        eventually(lambda: all(watch.samples[-1][tier] == [FEW, FEW] for tier in TIERS))
    seconds = {tier: load.count("good") for tier, load in heavy.items()}
    measured["scaling"] = {"samples": watch.samples, "spans": spans, "requests": seconds}

    assert set(watch.wanted("nginx", *spans["django"])) == {FEW}
    back = watch.wanted("django", *spans["nginx"])
    peak = back.index(max(back))  # of its own load, which is measured late
    assert peak <= LATE
    assert back[peak:] == sorted(back[peak:], reverse=True)
    for tier in TIERS:
        assert max(watch.wanted(tier, *spans[tier])) > FEW
    assert {load.lost for load in heavy.values()} == {""}
    assert visitors.lost == {}


def test_some_are_lost_without_the_drain(site, measured):  # the last one: nobody puts it back
    for tier in TIERS:
        site.cluster.remove("Deployment", tier, site.instance, "/spec/template/spec/containers/0/lifecycle")
    eventually(lambda: settled(site))
    with Visitors(site.address, pause=EAGER) as visitors:
        delete_pods(site)
        eventually(lambda: settled(site))
    assert visitors.lost
    measured["without the drain"] = visitors.lost
