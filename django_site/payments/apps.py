"""What dj-stripe is told before it works."""

import stripe
from django.apps import AppConfig, apps
from django.conf import settings


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Payments"

    def ready(self):
        from payments.sealing import SealedCharField

        for model in ("APIKey", "WebhookEndpoint"):
            apps.get_model("djstripe", model)._meta.get_field("secret").__class__ = SealedCharField

        stripe.default_http_client = stripe.RequestsClient(timeout=settings.STRIPE_TIMEOUT_SECONDS)
        stripe.max_network_retries = 0
        stripe.enable_telemetry = False
