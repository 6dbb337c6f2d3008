"""What the platform itself asks."""

from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView

from status.responses import respond
from status.services import DATABASE, examine


@require_safe
def healthz(request):
    """Alive: the process answers. No service can make it less so, and no restart would mend one."""
    return respond(request, "ok", {"status": "ok"})


@require_safe
def readyz(request):
    """Ready: the database answers. Without Redis or Memcached the rest of the site goes on, so they do not count."""
    if examine([DATABASE])["mysql"]["state"] == "up":
        return respond(request, "ready", {"status": "ready"})
    sentence = f"{DATABASE.name} is not available at the moment."
    return respond(request, sentence, {"error": sentence}, title="Not ready", status=503)


metrics = require_safe(ExportToDjangoView)

PROBES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


class ProbeMiddleware:
    """Answers before any other middleware: a kubelet and Prometheus come by address and without TLS, so neither a host
    name nor a redirect may stop them, and they come too often for the log and for the metrics."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return PROBES.get(request.path_info, self.get_response)(request)
