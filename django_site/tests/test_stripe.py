"""Stripe: the key, the pages, the webhook, and what is kept of all that."""

import hashlib
import hmac
import io
import json
import time
import uuid

import pytest
import requests
import stripe
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from djstripe.models import Account, APIKey, Customer, Event, WebhookEndpoint, WebhookEventTrigger

KEY = "sk_test_PlantedKeyOfTheTests1234567890"
REVOKED = "sk_test_PlantedKeyOfTheTests12Revoked"
SECRET = "whsec_PlantedSecretOfTheTests"  # noqa: S105
BROWSER = "text/html,*/*;q=0.8"
ENDPOINT = uuid.UUID("5f7b51a6-1e4f-4f49-9f0e-6c9a1d4f6b10")
ADDRESS = f"/stripe/webhook/{ENDPOINT}/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def use_stripe(settings, load_settings):
    """Gives the site another key than the environment's, and what belongs to it."""

    def use(**variables):
        defaults = {"STRIPE_ENABLED": "enabled", "STRIPE_MODE": "test", "STRIPE_SECRET_KEY": KEY, "STRIPE_SECRET_KEY_FILE": None}
        loaded = load_settings(**defaults | variables)
        for name in ("ENABLED", "MODE", "LIVE_MODE", "SECRET_KEY", "PROBLEM"):
            setattr(settings, f"STRIPE_{name}", getattr(loaded, f"STRIPE_{name}"))
        settings.STRIPE_WEBHOOK_ID = str(ENDPOINT)
        settings.STRIPE_WEBHOOK_SECRET = SECRET
        settings.STRIPE_DATABASE_KEY = "the tests' own"
        settings.STRIPE_LOCAL_WEBHOOK_URL = ""

    use()
    return use


@pytest.fixture
def customer(use_stripe):
    """A customer made at the API, as Stripe's answer tells of it."""
    return stripe.Customer.create(api_key=KEY, description="A test")


@pytest.fixture
def event(customer):
    """The body of the event that tells of the customer."""
    events = stripe.Event.list(api_key=KEY, type="customer.created", limit=100)
    return str(next(event for event in events.auto_paging_iter() if event.data.object.id == customer.id))


def signed(body, secret=SECRET, age=0):
    """The signature of a body, as Stripe makes it."""
    moment = int(time.time()) - age
    signature = hmac.new(secret.encode(), f"{moment}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={moment},v1={signature}"


def deliver(client, body, signature=None, address=ADDRESS):
    headers = {"stripe-signature": signature or signed(body)}
    return client.post(address, body, content_type="application/json", headers=headers)


def table(name):
    """All that the database holds in a table, as text."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {name}")  # noqa: S608
        return str(cursor.fetchall())


def stored():
    return Event.objects.count(), WebhookEventTrigger.objects.count()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"STRIPE_SECRET_KEY": None}, "There is no Stripe key: name a file that holds it in STRIPE_SECRET_KEY_FILE."),
        ({"STRIPE_SECRET_KEY": "pk_test_PlantedKeyOfTheTests1234567890"}, "The Stripe key is malformed: it has to be sk_test_, "),
        ({"STRIPE_SECRET_KEY": "sk_test_Planted"}, "The Stripe key is malformed: it has to be sk_test_, sk_live_, rk_test_ or "),
        ({"STRIPE_SECRET_KEY": f"{KEY} "}, "The Stripe key is malformed: it has to be sk_test_, sk_live_, rk_test_ or rk_live_"),
        (
            {"STRIPE_SECRET_KEY": KEY.replace("test", "live")},
            "The Stripe key is a live key, and this site takes none but test keys.",
        ),
        ({"STRIPE_MODE": "live"}, "The Stripe key is a test key, and this site takes none but live keys."),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", BROWSER, "application/json"])
def test_a_key_that_is_no_good(client, use_stripe, settings, variables, sentence, accept):
    use_stripe(**variables)
    response = client.get("/stripe-test", headers={"accept": accept})
    assert response.status_code == 503
    assert sentence in response.text
    assert "Planted" not in response.text
    assert settings.STRIPE_SECRET_KEY == ""


def test_stripe_is_switched_off(client, use_stripe):
    use_stripe(STRIPE_ENABLED="disabled")
    response = client.get("/stripe-test")
    assert (response.status_code, response.text) == (
        404,
        "Stripe is switched off: set STRIPE_ENABLED=enabled to switch it on.\n",
    )
    assert deliver(client, "{}").status_code == 404


@pytest.mark.real_stripe
def test_a_key_that_is_good(client, use_stripe):
    response = client.get("/stripe-test")
    assert (response.status_code, response.text) == (200, "Stripe accepts the key, which is a test key.\n")
    assert client.get("/stripe-test", headers={"accept": "application/json"}).json() == {"mode": "test"}
    assert "Stripe accepts the key" in client.get("/stripe-test", headers={"accept": BROWSER}).text


@pytest.mark.real_stripe
def test_a_key_that_was_revoked(client, use_stripe, caplog):
    use_stripe(STRIPE_SECRET_KEY=REVOKED)
    response = client.get("/stripe-test")
    assert response.status_code == 503
    assert response.text.startswith("Stripe does not accept the key: it was revoked, or is not one of Stripe's.")
    assert "sk_" not in response.text + caplog.text


def test_stripe_is_out_of_reach(client, use_stripe, closed_port, monkeypatch, caplog):
    monkeypatch.setattr(stripe, "api_base", f"http://127.0.0.1:{closed_port}")
    response = client.get("/stripe-test")
    assert (response.status_code, response.text) == (503, "Stripe is not available at the moment.\n")
    assert response["Retry-After"]
    assert [record.service for record in caplog.records if record.message == "outage"] == ["Stripe"]
    assert KEY not in caplog.text
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("body", "change", "status"),
    [
        ("{}", {"secret": "whsec_AnotherSecret"}, 400),
        ("{}", {"age": 301}, 400),
        ("[]", {}, 400),
        ("nonsense", {}, 400),
        (json.dumps({"id": "x" * 262_144}), {}, 413),
    ],
    ids=["a wrong signature", "an old one", "no event", "no JSON", "too large"],
)
def test_what_the_webhook_refuses(client, use_stripe, body, change, status):
    assert deliver(client, body, signed(body, **change)).status_code == status
    assert stored() == (0, 0)


def test_who_the_webhook_is_not_for(client, use_stripe, settings):
    assert client.post(ADDRESS, "{}", content_type="application/json").status_code == 400
    assert deliver(client, "{}", address=f"/stripe/webhook/{uuid.uuid4()}/").status_code == 404
    assert client.get(ADDRESS).status_code == 405
    settings.STRIPE_WEBHOOK_SECRET = ""
    assert deliver(client, "{}").status_code == 503
    assert stored() == (0, 0)


@pytest.mark.real_stripe
def test_an_event_that_is_signed(client, customer, event):
    signature = signed(event)
    response = deliver(client, event, signature)
    assert (response.status_code, response.text) == (200, f"{json.loads(event)['id']} is stored.\n")
    assert Event.objects.get().type == "customer.created"
    assert Customer.objects.get().id == customer.id

    assert deliver(client, event, signature).status_code == 409  # replayed
    later = signed(event, age=30)
    assert deliver(client, event, later).status_code == 200  # sent once more by Stripe, which signs it anew
    assert stored() == (1, 2)


@pytest.mark.real_stripe
def test_an_event_while_stripe_is_out_of_reach(client, event, closed_port, monkeypatch):
    with monkeypatch.context() as away:
        away.setattr(stripe, "api_base", f"http://127.0.0.1:{closed_port}")
        assert deliver(client, event).status_code == 503
    assert Event.objects.count() == 0
    assert deliver(client, event).status_code == 200


@pytest.mark.real_stripe
def test_secrets_in_the_database_are_sealed(client, event, settings):
    deliver(client, event)
    assert APIKey.objects.get(secret=KEY).secret == KEY
    assert WebhookEndpoint.objects.get().secret == SECRET
    kept = table("djstripe_apikey") + table("djstripe_webhookendpoint")
    assert kept.count("sealed:") == 2
    written = io.StringIO()
    call_command("dumpdata", stdout=written)
    assert "sealed:" in written.getvalue()
    everything = written.getvalue() + kept
    assert KEY not in everything
    assert SECRET not in everything

    settings.STRIPE_DATABASE_KEY = "another one"
    assert APIKey.objects.get().secret == ""
    assert deliver(client, event, signed(event, age=30)).status_code == 200
    assert not APIKey.objects.exists()
    assert WebhookEndpoint.objects.get().secret == SECRET


@pytest.mark.real_stripe
def test_a_key_that_takes_the_place_of_another(client, use_stripe, event):
    deliver(client, event)
    use_stripe(STRIPE_SECRET_KEY=f"{KEY}New")
    assert deliver(client, event, signed(event, age=30)).status_code == 200
    assert Account.objects.get().default_api_key == f"{KEY}New"


@pytest.mark.real_stripe
def test_the_admin_shows_events_and_no_secret(client, event, both_caches):
    deliver(client, event)
    client.force_login(User.objects.create_superuser("ada"))
    seen = 0
    for model, _ in admin.site._registry.items():
        if model._meta.app_label == "djstripe":
            name = f"admin:djstripe_{model._meta.model_name}"
            pages = [client.get(reverse(f"{name}_changelist"))]
            pages += [client.get(reverse(f"{name}_change", args=[item.pk])) for item in model.objects.all()]
            for page in pages:
                assert page.status_code == 200
                assert KEY not in page.text
                assert SECRET not in page.text
            seen += len(pages) > 1
    assert seen >= 4  # events, their deliveries, the customer, the account
    assert json.loads(event)["id"] in client.get("/admin/djstripe/event/").text
    assert client.get("/admin/djstripe/apikey/").status_code == 404
    assert client.get("/admin/djstripe/webhookendpoint/").status_code == 404


def test_a_round_trip_is_not_for_everybody(client, use_stripe, both_caches):
    for path in ("/stripe-test/round-trip", "/stripe-test/round-trip/cus_1"):
        assert client.get(path)["Location"].startswith("/admin/login/")
    client.force_login(User.objects.create_user("bob"))
    assert client.post("/stripe-test/round-trip").status_code == 302


def test_nothing_is_made_with_a_live_key(client, use_stripe, both_caches):
    use_stripe(STRIPE_MODE="live", STRIPE_SECRET_KEY=KEY.replace("test", "live"))
    client.force_login(User.objects.create_superuser("ada"))
    assert client.post("/stripe-test/round-trip").status_code == 403


@pytest.mark.real_stripe
def test_a_round_trip(client, use_stripe, both_caches):
    client.force_login(User.objects.create_superuser("ada"))
    assert "Make a customer" in client.get("/stripe-test/round-trip", headers={"accept": BROWSER}).text
    page = client.post("/stripe-test/round-trip")["Location"]
    assert "Its event has not come back yet." in client.get(page).text
    answer = client.get(page, headers={"accept": "application/json"}).json()
    events = stripe.Event.list(api_key=KEY, type="customer.created", limit=100).auto_paging_iter()
    deliver(client, str(next(event for event in events if event.data.object.id == answer["customer"])))
    assert client.get(page).text.endswith("came back signed, and is stored. The customer is in the database.\n")
    assert client.get(page, headers={"accept": "application/json"}).json()["done"]


@pytest.mark.real_stripe
def test_a_localstripe_is_told_where_to_send_events(client, use_stripe, settings, both_caches, silent_port):
    settings.STRIPE_LOCAL_WEBHOOK_URL = f"http://127.0.0.1:{silent_port}/"
    client.force_login(User.objects.create_superuser("ada"))
    assert client.post("/stripe-test/round-trip").status_code == 302
    settings.STRIPE_API_HOST = f"http://127.0.0.1:{silent_port}"
    settings.STRIPE_TIMEOUT_SECONDS = 0.2
    assert client.post("/stripe-test/round-trip").status_code == 503
    with pytest.raises(requests.Timeout):
        requests.get(settings.STRIPE_API_HOST, timeout=0.2)
