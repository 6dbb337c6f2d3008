"""dj-stripe's part of the admin, without secrets: they come from the vault, and are shown nowhere."""

from django.contrib import admin
from djstripe.admin import StripeModelAdmin
from djstripe.models import APIKey, WebhookEndpoint

admin.site.unregister([APIKey, WebhookEndpoint])

every_property = StripeModelAdmin.get_readonly_fields


def get_readonly_fields(self, request, obj=None):
    """All properties of an object, as dj-stripe shows them, but for its key."""
    return [name for name in every_property(self, request, obj) if name != "default_api_key"]


StripeModelAdmin.get_readonly_fields = get_readonly_fields
