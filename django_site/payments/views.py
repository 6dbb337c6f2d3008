"""The pages that show that Stripe works."""

from urllib.parse import urljoin

import requests
import stripe
from django.conf import settings
from django.contrib.admin.views.decorators import staff_member_required
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_safe
from djstripe.models import Customer, Event

from payments.stripe_api import failed, forget_other_keys, unusable
from status.errors import fail
from status.responses import respond

LIVE = "With a live key nothing is made for a test: take a test key."


@require_safe
def stripe_test(request):
    """A real call: the balance, of which nothing but the mode is told."""
    if response := unusable(request):
        return response
    try:
        balance = stripe.Balance.retrieve(api_key=settings.STRIPE_SECRET_KEY)
    except stripe.StripeError as error:
        return failed(request, error)
    mode = "live" if balance.livemode else "test"
    return respond(request, f"Stripe accepts the key, which is a {mode} key.", {"mode": mode}, title="Stripe")


@staff_member_required
@require_http_methods(["GET", "HEAD", "POST"])
def round_trip(request):
    """Makes a customer at the API; what comes of it is on the customer's page."""
    if response := unusable(request):
        return response
    if request.method == "POST":
        if settings.STRIPE_LIVE_MODE:
            return fail(request, 403, "Not allowed", LIVE)
        forget_other_keys()
        try:
            introduce()
            customer = stripe.Customer.create(api_key=settings.STRIPE_SECRET_KEY, description="A round trip")
        except stripe.StripeError as error:
            return failed(request, error)
        return redirect("came-back", customer=customer.id)
    text = "Make a customer at Stripe's API, and see the signed event come back."
    data = {"text": text, "csrf_token": get_token(request)}
    return respond(request, text, data, template="round_trip.html", title="Round trip")


def introduce():
    """Tells a localstripe where to send events and how to sign them: nobody else does, and it forgets."""
    if not settings.STRIPE_LOCAL_WEBHOOK_URL:
        return
    address = urljoin(settings.STRIPE_API_HOST, "/_config/webhooks/site")
    webhook = {"url": settings.STRIPE_LOCAL_WEBHOOK_URL, "secret": settings.STRIPE_WEBHOOK_SECRET}
    try:
        requests.post(address, json=webhook, timeout=settings.STRIPE_TIMEOUT_SECONDS).raise_for_status()
    except requests.RequestException as error:
        raise stripe.APIConnectionError(type(error).__name__) from error


@staff_member_required
@require_safe
def came_back(request, customer):
    """How far a customer's round trip is."""
    events = Event.objects.filter(type="customer.created", stripe_data__data__object__id=customer)
    event = events.values_list("id", flat=True).first()
    synchronised = Customer.objects.filter(id=customer).exists()
    text = f"{customer} was made at the API. "
    text += f"Its event {event} came back signed, and is stored. " if event else "Its event has not come back yet. "
    text += "The customer is in the database." if synchronised else "The customer is not in the database yet."
    data = {"customer": customer, "event": event, "synchronised": synchronised, "done": bool(event and synchronised)}
    return respond(request, text, {"text": text, **data}, template="came_back.html", title="Round trip")
