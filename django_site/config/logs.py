"""One shape for every log line, whoever wrote it: this site, Django or gunicorn."""

import sys

import structlog

# The only `extra` fields that reach the log: Django attaches whole request objects to its own records.
FIELDS = {"method", "path", "status", "duration_ms", "service", "reason"}


def logging_config(style, level):
    if style == "json":
        # Plain tracebacks: structured ones would carry local variables, and so passwords, along.
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=True)]
    else:
        plain = structlog.dev.plain_traceback
        renderers = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"unexpected": {"()": "config.logs.Unexpected"}},
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [
                    structlog.contextvars.merge_contextvars,
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    structlog.stdlib.ExtraAdder(allow=FIELDS),
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                ],
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            },
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "django": {"level": level},
            # Each request has its line, written by status.middleware: these would only repeat it.
            "django.request": {"level": "ERROR", "filters": ["unexpected"]},
            "django.server": {"level": "CRITICAL"},
            # Strangers who ask for other sites' names; the request's line shows their 400.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            # A check that fails is logged as an outage; its traceback only when nobody expected it.
            "health_check": {"level": "ERROR"},
            # What they say of requests and answers would tell of customers, and of secrets.
            "stripe": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
            # Django leaves it to the server to drop the body of an answer to HEAD; gunicorn remarks on each.
            "gunicorn.http.wsgi": {"level": "ERROR"},
            "gunicorn.error": {"level": level, "handlers": ["stderr"], "propagate": False},
        },
    }


class Unexpected:
    """Lets through what comes with a traceback."""

    def filter(self, record):
        return bool(record.exc_info)
