#!/usr/bin/python3
"""Answers for Memcached as the official exporter does, by the same names: /scrape?target=host:port tells of one server.

Debian has no exporter for Memcached. This one knows what the site's alerts and dashboards ask for.
"""

import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

PORT = 9150
TIMEOUT = 2  # seconds to connect, and for an answer
GAUGES = {
    "current_bytes": "bytes",
    "current_connections": "curr_connections",
    "current_items": "curr_items",
    "limit_bytes": "limit_maxbytes",
    "max_connections": "max_connections",
    "uptime_seconds": "uptime",
}
COUNTERS = {
    "connections_total": "total_connections",
    "items_evicted_total": "evictions",
    "items_total": "total_items",
    "read_bytes_total": "bytes_read",
    "written_bytes_total": "bytes_written",
}
COMMANDS = {
    ("set", "hit"): "cmd_set",
    ("get", "hit"): "get_hits",
    ("get", "miss"): "get_misses",
    ("delete", "hit"): "delete_hits",
    ("delete", "miss"): "delete_misses",
    ("touch", "hit"): "touch_hits",
    ("touch", "miss"): "touch_misses",
    ("flush", "hit"): "cmd_flush",
}


class Server:
    """One Memcached."""

    def __init__(self, target):
        self.target = target

    def stats(self):
        """Return what it says of itself; nothing, where it does not answer."""
        try:
            stats = Client(self.target, connect_timeout=TIMEOUT, timeout=TIMEOUT).stats()
        except (OSError, ValueError, MemcacheError) as error:
            print(f"{self.target}: {error}", file=sys.stderr, flush=True)
            return {}
        return {name.decode(): value for name, value in stats.items()}

    def collect(self):
        """Yield its metrics, as prometheus_client asks for them."""
        stats = self.stats()
        yield GaugeMetricFamily("memcached_up", "Could the memcached server be reached.", bool(stats))
        for family, names in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for name, stat in names.items():
                if stat in stats:
                    yield family(f"memcached_{name}", f"Memcached's {stat}.", float(stats[stat]))
        commands = CounterMetricFamily("memcached_commands", "Requests by command and status.", labels=["command", "status"])
        for labels, stat in COMMANDS.items():
            if stat in stats:
                commands.add_metric(labels, float(stats[stat]))
        yield commands


class Handler(BaseHTTPRequestHandler):
    """Answers Prometheus."""

    def do_GET(self):
        """Tell of the server that is asked for, or that this is an exporter."""
        asked = urlsplit(self.path)
        body = b"Memcached exporter: /scrape?target=host:port\n"
        if target := parse_qs(asked.query).get("target") if asked.path == "/scrape" else None:
            registry = CollectorRegistry(auto_describe=False)
            registry.register(Server(target[0]))
            body = generate_latest(registry)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing of each scrape."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which the first process of a container would not hear
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
