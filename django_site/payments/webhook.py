"""Where Stripe's events come in: dj-stripe's own handling, and before it what keeps strangers away from the database."""

import json

import stripe
from django.conf import settings
from django.db import transaction
from django.http import Http404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from djstripe.models import WebhookEndpoint, WebhookEventTrigger

from payments.stripe_api import failed, forget_other_keys, unusable
from status.errors import fail
from status.responses import respond

HEADER = "Stripe-Signature"
NO_SECRET = "There is no webhook secret: name a file that holds it in STRIPE_WEBHOOK_SECRET_FILE."  # noqa: S105


@csrf_exempt
@transaction.non_atomic_requests  # as dj-stripe's own view: the record of a failure stays
@require_POST
def webhook(request, uuid):
    if str(uuid) != settings.STRIPE_WEBHOOK_ID:
        raise Http404
    if response := unusable(request):
        return response
    if not settings.STRIPE_WEBHOOK_SECRET:
        return fail(request, 503, "Not available", NO_SECRET)
    if int(request.META.get("CONTENT_LENGTH") or 0) > settings.STRIPE_WEBHOOK_MAX_BYTES:
        return fail(request, 413, "Too large", "No event is as large as this.")
    if not (event := signed_event(request)):
        return fail(request, 400, "Not signed", "This is not signed by Stripe, or was signed too long ago.")
    if came_before(event, request.headers[HEADER]):
        return fail(request, 409, "Replayed", "This very message came before.")

    forget_other_keys()
    try:
        trigger = WebhookEventTrigger.from_request(request, webhook_endpoint=endpoint(uuid))
    except stripe.StripeError as error:
        return failed(request, error)
    if not trigger.valid:
        return fail(request, 400, "No event", "This is signed, and no event.")
    return respond(request, f"{trigger.event.id} is stored.", {"event": trigger.event.id}, title="Stored")


def signed_event(request):
    """The event where its signature is Stripe's and of these minutes; nothing otherwise."""
    signature, tolerance = request.headers.get(HEADER, ""), stripe.Webhook.DEFAULT_TOLERANCE
    try:
        body = request.body.decode()
        stripe.WebhookSignature.verify_header(body, signature, settings.STRIPE_WEBHOOK_SECRET, tolerance)
        event = json.loads(body)
    except (ValueError, stripe.SignatureVerificationError):
        return None
    return event if isinstance(event, dict) else None


def came_before(event, signature):
    """Whether this was received with this signature already. Stripe signs anew when it sends an event once more."""
    received = WebhookEventTrigger.objects.filter(event__id=event.get("id"), processed=True)
    return any(headers.get(HEADER) == signature for headers in received.values_list("headers", flat=True))


def endpoint(uuid):
    """dj-stripe's record of this address, with the secret that the site has now."""
    values = {"id": f"we_{uuid.hex}", "livemode": settings.STRIPE_LIVE_MODE, "enabled_events": ["*"], "status": "enabled"}
    values["secret"] = settings.STRIPE_WEBHOOK_SECRET
    record, _ = WebhookEndpoint.objects.get_or_create(djstripe_uuid=uuid, defaults=values)
    if record.secret != settings.STRIPE_WEBHOOK_SECRET:
        record.secret = settings.STRIPE_WEBHOOK_SECRET
        record.save(update_fields=["secret"])
    return record
