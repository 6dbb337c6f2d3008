"""The tests take their services from the environment, as the site does: with nothing set, SQLite and local memory stand
in for them. Faults are real ones: closed ports, sockets that never answer, connections cut."""

import contextlib
import http.client
import os
import runpy
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.management.utils import get_random_secret_key
from django.db import connection
from environ import FileAwareEnv

SITE = Path(__file__).resolve().parent.parent
REAL_CACHES = {"REDIS_URL", "MEMCACHED_SERVERS"} <= os.environ.keys()
REAL_STRIPE = bool(os.environ.get("STRIPE_LOCAL_WEBHOOK_URL"))  # never Stripe itself

django_settings.SECRET_KEY = get_random_secret_key()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory):
    """SQLite in a file: the status page's threads could not close what is only in memory."""
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = tmp_path_factory.mktemp("database") / "db.sqlite3"


def pytest_collection_modifyitems(config, items):
    for marker, there in (("real_caches", REAL_CACHES), ("real_stripe", REAL_STRIPE)):
        left_out = [item for item in items if not there and item.get_closest_marker(marker)]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def load_settings(monkeypatch):
    """The settings as a process with these variables would have them; None takes a variable away."""

    def load(**variables):
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, str(value))
        FileAwareEnv.ENVIRON.files_cache.clear()
        return SimpleNamespace(**runpy.run_path(str(SITE / "config" / "settings.py")))

    yield load
    FileAwareEnv.ENVIRON.files_cache.clear()


@pytest.fixture
def use_caches(load_settings, settings):
    """Gives the site other caches than the environment's, and the sessions that go with them."""

    def use(**variables):
        loaded = load_settings(**variables)
        settings.CACHES = loaded.CACHES
        settings.SESSION_ENGINE = loaded.SESSION_ENGINE

    return use


@pytest.fixture
def both_caches(use_caches, settings):
    """Redis and Memcached switched on and empty: the real ones, or local memory in their places."""
    if REAL_CACHES:
        use_caches(REDIS_ENABLED="enabled", MEMCACHED_ENABLED="enabled")
    else:
        local = "django.core.cache.backends.locmem.LocMemCache"
        settings.CACHES = {alias: {"BACKEND": local, "LOCATION": alias} for alias in ("default", "redis", "memcached")}
        settings.SESSION_ENGINE = "status.sessions"
    for alias in ("redis", "memcached"):
        caches[alias].clear()


def cache_at(service, port):
    """The variables that send a cache's client to a port of this machine."""
    if service == "redis":
        # The address as it is, with its user name, at another port.
        user, at, _ = os.environ.get("REDIS_URL", "redis://").removeprefix("redis://").rpartition("@")
        return {"REDIS_ENABLED": "enabled", "REDIS_URL": f"redis://{user}{at}127.0.0.1:{port}/0"}
    return {"MEMCACHED_ENABLED": "enabled", "MEMCACHED_SERVERS": f"127.0.0.1:{port}"}


@pytest.fixture
def closed_port():
    """Nobody listens here, and while the socket is bound nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent_port():
    """Accepts connections, as the kernel does for a listening socket, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


class Relay:
    """A way to a real service that can be cut and mended, like the service itself being stopped and started."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.port = 0
        self.sockets = set()
        self.mend()

    def mend(self):
        self.listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listening.getsockname()[1]
        self.sockets.add(self.listening)
        threading.Thread(target=self._accept, args=[self.listening], daemon=True).start()

    def cut(self):
        for each in list(self.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.sockets.clear()

    def _accept(self, listening):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(self.target)
                self.sockets |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=[source, sink], daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(request):
    """A relay to the real Redis or Memcached."""
    variable = {"redis": "REDIS_URL", "memcached": "MEMCACHED_SERVERS"}[request.getfixturevalue("service")]
    address = os.environ[variable].partition("://")[2].partition("/")[0] or os.environ[variable]
    host, _, port = address.rpartition("@")[2].partition(":")
    relay = Relay(host, int(port or (6379 if variable == "REDIS_URL" else 11211)))
    yield relay
    relay.cut()


class Gunicorn:
    """The site as it is served: one request at a time from here, and what it logged once it is stopped."""

    def __init__(self, workers, environment):
        self.listening = socket.create_server(("127.0.0.1", 0))
        descriptor = self.listening.fileno()
        command = [sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"fd://{descriptor}"]
        command += ["--workers", str(workers), "--threads", "2", "--no-control-socket"]
        self.process = subprocess.Popen(
            command, cwd=SITE, env=environment, pass_fds=[descriptor], stderr=subprocess.PIPE, text=True
        )

    def get(self, path, **headers):
        # The socket listens since before gunicorn does: a request made too early just waits in its queue.
        port = self.listening.getsockname()[1]
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return SimpleNamespace(status=response.status, headers=response.headers, text=response.read().decode())

    def stop(self):
        self.process.terminate()
        return self.ended()

    def ended(self):
        """Everything it wrote to its log, once it is over."""
        self.listening.close()
        # gunicorn itself waits 30 seconds for a worker, as for one that the signal has reached in its first moments.
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def serve(tmp_path):
    """Starts the site under gunicorn with these variables besides the environment's."""
    running = []
    defaults = {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"} | os.environ
    defaults["SECRET_KEY"] = get_random_secret_key()
    defaults.pop("SECRET_KEY_FILE", None)

    def start(workers=1, **variables):
        running.append(Gunicorn(workers, defaults | {name: str(value) for name, value in variables.items()}))
        return running[-1]

    yield start
    for gunicorn in running:
        if gunicorn.process.returncode is None:
            gunicorn.stop()


@pytest.fixture
def manage():
    """Runs manage.py with these variables and none of the site's own."""

    def run(*arguments, **variables):
        environment = {k: os.environ[k] for k in ("PATH", "HOME", "LD_LIBRARY_PATH", "LANG") if k in os.environ}
        environment |= variables
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=SITE, env=environment, capture_output=True, text=True, timeout=120)

    return run
