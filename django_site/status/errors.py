"""What a visitor gets to read when something is wrong: one sentence, never a trace."""

import sys

from status.responses import respond
from status.services import behind, log_outage


def fail(request, status, title, sentence):
    return respond(request, sentence, {"error": sentence}, title=title, status=status)


def outage(request, service, reason):
    log_outage(service, reason)
    response = fail(request, 503, "Not available", f"{service.name} is not available at the moment.")
    response["Retry-After"] = "5"
    return response


def bad_request(request, exception):
    return fail(request, 400, "Bad request", "The site cannot make sense of this request.")


def permission_denied(request, exception):
    return fail(request, 403, "Not allowed", "This page is not for you.")


def not_found(request, exception):
    return fail(request, 404, "Not found", "There is no such page.")


def server_error(request):
    """Also reached by an outage outside of a view: when a middleware saves the session, for one."""
    failure = sys.exception()
    if service := behind(failure):
        return outage(request, service, failure)
    return fail(request, 500, "Error", "Something went wrong here, and the log knows what.")
