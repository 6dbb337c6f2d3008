"""Releases that fail on Compose, and secrets that are rotated there: what serves afterwards, and whom it cost what.

How long nobody was served is in .artifacts/gaps.json.
"""

import json
import signal

import pytest
from conftest import ROOT, eventually
from load import Visitors
from test_faults import NAMES, states

TIERS = ["django", "nginx"]
VERSION = "tandem-releases"  # in the tags of images of the tests' own, to know them by
FAILING = {  # what it is made of, what the play says, and whether its containers are started
    "one that cannot be loaded": (
        {"django_wsgi_application": "config.wsgi:nothing"},
        "gunicorn cannot load the site, so its database is left as it is.",
        False,
    ),
    "one whose migration fails": (
        {"django_release_command": ["python", "-c", "raise SystemExit('no such column')"]},
        "The job 'release' failed, so the version before goes on serving",
        False,
    ),
    "one that cannot start": (
        {"django_environment": {"GUNICORN_CMD_ARGS": "--bind=:nonsense"}, "django_workers": 3},
        "The site did not come up. django",
        True,
    ),
    "one that fails verification": (
        {"django_environment": {"REDIS_URL": "redis://nowhere:6379/0"}, "image_version": VERSION, "memcached_enabled": False},
        'The site does not answer as it should: {address}/redis says 503, "Redis is not available at the moment."',
        True,
    ),
}


@pytest.fixture(scope="module")
def site(new_site):
    """One that serves."""
    site = new_site("releases")
    site.deploy().succeeded()
    return site


@pytest.fixture(scope="module")
def gaps():
    """The seconds in which nobody was served, by what was released."""
    seconds = {}
    yield seconds
    (ROOT / ".artifacts").mkdir(exist_ok=True)
    (ROOT / ".artifacts/gaps.json").write_text(json.dumps(seconds, indent=1))


def version(site):
    """Return what the web stage runs, and the project's files."""
    images = {tier: site.inspect(tier, ".Config.Image") for tier in TIERS}
    return images, {path.relative_to(site.project): path.read_text() for path in site.project.rglob("*.*") if path.is_file()}


def secret(site, name):
    """Return what the containers read as a secret."""
    return (site.project / "secrets" / name).read_text()


@pytest.mark.parametrize("release", FAILING)
def test_a_release_that_fails(site, gaps, release):
    variables, sentence, starts_anew = FAILING[release]
    before = version(site)
    with Visitors(site.address, pause=300) as visitors:
        play = site.deploy(**variables).failed()
    gaps[release] = visitors.gap
    assert sentence.format(address=site.address) in play.said
    assert "What serves is the version before; the reason is above: mend it, then run this again." in play.said
    assert version(site) == before
    assert [path.name for path in site.project.parent.iterdir()] == [site.project.name]
    eventually(lambda: states(site) == dict.fromkeys(NAMES, "up"))
    assert starts_anew or visitors.lost == {}


def test_the_next_good_release(site, gaps):
    image = site.inspect("django", ".Config.Image")
    with Visitors(site.address, pause=300) as visitors:
        site.deploy(image_version=VERSION).succeeded()
    gaps["a good one"] = visitors.gap
    assert site.inspect("django", ".Config.Image") != image
    assert states(site) == dict.fromkeys(NAMES, "up")
    assert [path.name for path in site.project.parent.iterdir()] == [site.project.name]


def rotate(site, name):
    """Begin the rotation of a secret."""
    return site.start("rotate-secrets", "-vvv", "--diff", secrets_rotated=name, image_version=VERSION)


def test_a_secret_that_is_rotated(site, gaps):
    before = secret(site, "django_secret_key")
    assert "Site administration" in site.sign_in().text
    with Visitors(site.address, pause=300) as visitors:
        play = rotate(site, "django_secret_key").succeeded()
    gaps["another secret"] = visitors.gap
    after = secret(site, "django_secret_key")
    assert after != before
    assert not [key for key in (before, after) if key in play.output]
    assert states(site) == dict.fromkeys(NAMES, "up")
    assert "Site administration" in site.get("/admin/").text


def test_a_rotation_that_is_cut_off_and_run_again(site):
    before, server = secret(site, "mysql_password"), site.inspect("mysql", ".State.StartedAt")
    cut_off = rotate(site, "mysql_password")
    cut_off.reach("compose | apply | Write the project")
    cut_off.end(signal.SIGINT)
    assert site.get("/mysql").ok
    assert "The rotation of mysql_password was cut off: finish it first" in rotate(site, "stripe_secret_key").failed().said
    play = rotate(site, "mysql_password").succeeded()
    after = secret(site, "mysql_password")
    assert after != before
    assert not [password for password in (before, after) if password in cut_off.output + play.output]
    assert site.inspect("mysql", ".State.StartedAt") == server
    assert site.get("/mysql").ok
