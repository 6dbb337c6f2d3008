"""Stripe, as the site knows it: what it answers, how it fails, and what is kept of it."""

import stripe
from django.conf import settings
from djstripe.models import APIKey

from status.errors import fail, outage

SWITCHED_OFF = "Stripe is switched off: set STRIPE_ENABLED=enabled to switch it on."
REFUSED = "Stripe does not accept the key: it was revoked, or is not one of Stripe's. Put one that is valid in its place."
FORBIDDEN = "The Stripe key is a restricted one, and may not do this: allow it in Stripe's dashboard."


class Stripe:
    """What an outage is told of."""

    name = "Stripe"


def unusable(request):
    """The answer where there is no Stripe to talk to; nothing, where there may be one."""
    if not settings.STRIPE_ENABLED:
        return fail(request, 404, "Switched off", SWITCHED_OFF)
    if settings.STRIPE_PROBLEM:
        return fail(request, 503, "Not available", settings.STRIPE_PROBLEM)
    return None


def failed(request, error):
    """The answer to a failure of the API. What Stripe says of a key has some of its letters, so that it is not repeated."""
    if isinstance(error, stripe.AuthenticationError):
        return fail(request, 503, "Not available", REFUSED)
    if isinstance(error, stripe.PermissionError):
        return fail(request, 503, "Not available", FORBIDDEN)
    return outage(request, Stripe, type(error).__name__)


def forget_other_keys():
    """dj-stripe keeps a row of each key that it has seen, and would go on with the oldest one."""
    APIKey.objects.exclude(secret=settings.STRIPE_SECRET_KEY).delete()
