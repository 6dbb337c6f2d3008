"""One answer in the form that the client prefers."""

from django.http import HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

PLAIN, HTML, JSON = FORMS = ("text/plain", "text/html", "application/json")


def preferred_form(request):
    """Plain text for whoever does not care, such as curl."""
    return request.get_preferred_type(FORMS) or PLAIN


def respond(request, text, data, *, template="message.html", title="", status=200):
    """`text` for the terminal, `data` for programs, and both for the page's template."""
    form = preferred_form(request)
    if form == JSON:
        response = JsonResponse(data, status=status)
    elif form == HTML:
        # No request in the context: a page about an outage must not look for a session or a user.
        page = render_to_string(template, {"title": title, "text": text, "status": status, **data})
        response = HttpResponse(page, status=status)
    else:
        response = HttpResponse(f"{text}\n", status=status, content_type=f"{PLAIN}; charset=utf-8")
    patch_vary_headers(response, ["Accept"])
    response["Cache-Control"] = "no-store"
    return response
