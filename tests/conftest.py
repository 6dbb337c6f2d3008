"""Sites of the tests' own: a copy of the checkout, a name, a port and a vault each; nothing of the user's is touched."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "vault.yml", "rendered", "tests", "molecule", "benchmarks")
SITES = []  # those that exist now
LOCKS = Path(tempfile.gettempdir())
PORTS = {}  # the locks of those that are taken


def docker(*arguments, check=True):
    """Return what a docker command prints."""
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0 or not check, f"docker {' '.join(arguments)}: {run.stderr}"
    return run.stdout.strip()


def eventually(condition, within=180):
    """Return the first true answer of a condition; fail when there is none in so many seconds."""
    end = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {within} s: {condition.__name__}"
        time.sleep(0.1)
    return answer


def free_port():
    """Return a port that nothing listens on, and that these tests use for nothing else until they are over."""
    for port in range(18100, 18200):
        taken = (LOCKS / f"tandem-port-{port}-{os.getuid()}.lock").open("w")
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
                listener.bind(("127.0.0.1", port))
            except OSError:
                taken.close()
                continue
        PORTS[port] = taken
        return port
    raise OSError("No port from 18100 to 18199 is free.")


class Play:
    """One run of a playbook."""

    def __init__(self, command, log, **settings):
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **settings)

    @property
    def output(self):
        """What it has printed so far."""
        return self.log.read_text()

    @property
    def said(self):
        """The same on one line, however it was wrapped."""
        return " ".join(self.output.split())

    @property
    def end_of_output(self):
        """The last lines, for whoever reads of a failure."""
        return "\n".join(self.output.splitlines()[-60:])

    @property
    def changed(self):
        """The number of changes, from the recap."""
        return int(re.search(r"changed=(\d+)", self.output)[1])

    def until(self, condition):
        """Wait until the condition holds, which has to be while it runs."""
        answer = eventually(lambda: condition() or (self.process.poll() is not None and self))
        assert answer is not self, self.end_of_output

    def reach(self, text):
        """Wait until it has printed this."""
        self.until(lambda: text in self.said)

    def end(self, sign=None):
        """Wait until it is over, on a signal or by itself; where it does not hear it, a second one follows, as of a user."""
        for _ in range(2 if sign else 0):
            self.process.send_signal(sign)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=60)
        self.process.wait(timeout=600)
        return self

    def succeeded(self):
        """Wait until it is over, and well."""
        assert self.end().process.returncode == 0, self.end_of_output
        return self

    def failed(self):
        """Wait until it is over, and not well."""
        assert self.end().process.returncode > 0, self.end_of_output
        return self


class Site:
    """A site that a test deploys, asks, harms and removes; a platform's own says how it is seen there."""

    inventory = ""
    address = ""

    def __init__(self, folder, instance, **variables):
        self.folder = folder
        self.instance = instance
        self.variables = {"platform_instance": instance, **variables}
        self.checkout = shutil.copytree(ROOT, folder / "checkout", ignore=NOT_COPIED)
        self.environment = os.environ | {
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.vault = self.checkout / f"inventories/{self.inventory}/group_vars/all/vault.yml"
        self.session = requests.Session()
        self.plays = []

    def start(self, playbook, *options, through=(), **variables):
        """Start a playbook with these variables on top of the site's; `through` is a command to start it by."""
        command = [*through, Path(sys.executable).with_name("ansible-playbook"), f"playbooks/{playbook}.yml", *options]
        command += [f"--inventory=inventories/{self.inventory}", "--extra-vars", json.dumps(self.variables | variables)]
        log = self.folder / f"play-{len(self.plays)}.log"
        self.plays.append(Play(command, log, cwd=self.checkout, env=self.environment))
        return self.plays[-1]

    def deploy(self, *options, **variables):
        """Start the deployment."""
        return self.start("deploy-site", *options, **variables)

    def get(self, path="/", accept="*/*"):
        """Ask the site."""
        return self.session.get(f"{self.address}{path}", headers={"Accept": accept}, timeout=60)

    def sign_in(self):
        """Sign in to the admin and return the page that comes after."""
        form = self.get("/admin/login/")
        fields = {"username": "admin", "password": self.password(), "csrfmiddlewaretoken": form.cookies["csrftoken"]}
        return self.session.post(f"{form.url}?next=/admin/", fields, timeout=60)

    def processes(self):
        """Whatever its plays started and runs still: an interrupted one may leave some that end by themselves."""
        ours = os.fsencode(f"XDG_STATE_HOME={self.folder}/")
        return [path for path in Path("/proc").glob("[0-9]*/environ") if ours in contents(path)]

    def __enter__(self):
        SITES.append(self)
        self.clear()  # what a run that was killed has left
        return self

    def __exit__(self, *_):
        for play in self.plays:
            if play.process.poll() is None:
                play.end(signal.SIGTERM)
        eventually(lambda: not self.processes())
        self.clear()
        SITES.remove(self)


class ComposeSite(Site):
    """One in Docker Compose on this machine."""

    inventory = "local"

    def __init__(self, folder, instance, **variables):
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.project = folder / "state" / instance
        super().__init__(folder, instance, nginx_published_port=self.port, **variables)

    def password(self):
        """Return the superuser's password."""
        return (self.project / "secrets/django_superuser_password").read_text()

    def container(self, service):
        """Return the name of a service's container."""
        return f"{self.instance}-{service}-1"

    def inspect(self, service, field):
        """Return a field of a service's container; nothing, where there is none."""
        return docker("inspect", "--format", f"{{{{{field}}}}}", self.container(service), check=False)

    def remains(self):
        """What the engine has of this site, as the command that removes it: names."""
        ours = ["--quiet", "--filter", f"label=com.docker.compose.project={self.instance}"]
        return {
            ("rm", "--force", "--volumes"): docker("ps", "--all", *ours).split(),
            ("volume", "rm"): docker("volume", "ls", *ours).split(),
            ("network", "rm"): docker("network", "ls", *ours).split(),
            ("rmi", "--force"): docker(
                "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference=*/*:{self.instance}-*"
            ).split(),
        }

    def traces(self):
        """Whatever there is of this site: on the engine, in its folder, a vault."""
        paths = [self.project, self.vault]
        return [*chain(*self.remains().values()), *(path for path in paths if path.exists())]

    def logs(self):
        """The last lines of each of its containers, for whoever reads of a failure."""
        names = docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"label=com.docker.compose.project={self.instance}")
        for name in names.split():
            run = subprocess.run(["docker", "logs", "--tail=20", name], capture_output=True, text=True, check=False)
            yield f"--- {name}\n{run.stdout}{run.stderr}"

    def clear(self):
        """Remove what the engine has of it."""
        for command, names in self.remains().items():
            if names:
                docker(*command, *names)


def contents(path):
    """Return a process's file; nothing, where the process has ended meanwhile or is another user's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def alone(request):
    """Wait for other runs of the same tests: their names are always the same."""
    with (LOCKS / f"tandem-{request.module.__name__}-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def new_site(alone, tmp_path_factory):
    """Make sites that are gone when the module's tests are over."""
    with ExitStack() as stack:

        def make(name, **variables):
            return stack.enter_context(ComposeSite(tmp_path_factory.mktemp(name), f"tandem-{name}", **variables))

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Let a failure bring along what the last playbook wrote, and the containers' logs."""
    report = yield
    if report.failed:
        for site in SITES:
            report.sections += [(f"{site.instance}: the last playbook", play.end_of_output) for play in site.plays[-1:]]
            report.sections.append((f"{site.instance}: the containers' last lines", "\n".join(site.logs())))
    return report
