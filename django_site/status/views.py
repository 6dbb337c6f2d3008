"""The pages."""

import datetime

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import DatabaseError, connection
from django.views.decorators.http import require_safe

from status.errors import fail, outage
from status.responses import PLAIN, preferred_form, respond
from status.services import DATABASE, examine, summarize

KEPT_SECONDS = 10
MYSQL_NO_SUCH_TABLE = 1146


@require_safe
def home(request):
    data = {"environment": settings.SITE_ENVIRONMENT}
    if preferred_form(request) != PLAIN:
        states = examine()
        data |= {"summary": summarize(states), "services": states}
    text = f"running in {settings.SITE_ENVIRONMENT}"
    return respond(request, text, data, template="status.html", title=text)


@require_safe
def mysql(request):
    try:
        users = len(User.objects.all())
    except DatabaseError as error:
        if not tables_are_missing(error):
            raise
        sentence = f"{DATABASE.name} answers, but has no tables yet: run `python manage.py migrate`."
        return fail(request, 503, "No tables", sentence)
    version = ".".join(map(str, connection.get_database_version()))
    text = f"{connection.display_name} {version} answers and holds {users} user{'' if users == 1 else 's'}."
    data = {"database": connection.display_name, "version": version, "users": users}
    return respond(request, text, data, title=connection.display_name)


def tables_are_missing(error):
    return error.args[0] == MYSQL_NO_SUCH_TABLE or "no such table" in str(error)


@require_safe
def kept_time(request, service):
    """The time of the request that filled the cache."""
    if not service.enabled:
        return fail(request, 404, "Switched off", service.how_to_enable)
    try:
        filled_at = caches[service.slug].get_or_set("status:filled-at", now, timeout=KEPT_SECONDS)
    except (OSError, *service.failures) as error:
        return outage(request, service, error)
    data = {"service": service.name, "filled_at": filled_at, "kept_seconds": KEPT_SECONDS}
    return respond(request, filled_at, data, template="kept_time.html", title=service.name)


def now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
