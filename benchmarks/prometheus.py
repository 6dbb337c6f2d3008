#!/usr/bin/env python3
"""What the site loses while Prometheus looks at it.

    make local; ansible-playbook -i inventories/local playbooks/deploy-site.yml \\
        -e '{prometheus_enabled: true, prometheus_scrape_interval: 5s}'
    benchmarks/prometheus.py [rounds]

In each round Prometheus is held still, and then goes on, while several visitors ask the site on this machine as fast as they can.
Prometheus and the exporters share its processors with the site. The figures are those of the best round, as in gunicorn.py. wrk
has to be installed.
"""

import sys

import docker
from gunicorn import PATHS, ask, table

VARIANTS = {"is held still": "pause", "looks at everything every 5 seconds": "unpause"}
SECONDS = 11  # two looks at least


def main():
    """Measure both and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    prometheus = docker.from_env().containers.get("tandem-prometheus-1")
    told = {}
    try:
        for name, act in list(VARIANTS.items()) * rounds:
            getattr(prometheus, act)()
            for path in PATHS:
                told.setdefault((name, path), []).append(ask(path, SECONDS))
    finally:
        prometheus.reload()
        if prometheus.status == "paused":
            prometheus.unpause()
    table("Prometheus", VARIANTS, told)


if __name__ == "__main__":
    main()
