"""What happens to every request."""

import logging
import re
import time
import uuid

import structlog
from django_prometheus.middleware import PrometheusAfterMiddleware

from status.errors import outage
from status.services import behind

logger = logging.getLogger("status.requests")


class RequestLogMiddleware:
    """Gives each request an id, nginx's where there is one, that every log line and the response carry; and a log line
    of its own at the end."""

    well_formed = re.compile(r"[\w.-]{1,128}", re.ASCII)

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        start = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        request_id = given if self.well_formed.fullmatch(given) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
            logger.info(
                "request",
                extra={
                    "method": request.method,
                    "path": request.path,  # without the query, in which there may be anything
                    "status": response.status_code,
                    "duration_ms": round((time.perf_counter() - start) * 1000, 1),
                },
            )
        response["X-Request-ID"] = request_id
        return response


class OutageMiddleware:
    """Answers for any view that a service let down."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        service = behind(exception)
        return service and outage(request, service, exception)


class MetricsMiddleware(PrometheusAfterMiddleware):
    """Keeps invented methods out of the labels: each would be a time series for ever."""

    def label_metric(self, metric, request, response=None, **labels):
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)
