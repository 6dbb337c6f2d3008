"""Texts of the database that this site alone can read, with STRIPE_DATABASE_KEY: what dj-stripe keeps of secrets there."""

import hashlib
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

SEALED = "sealed:"

logger = logging.getLogger(__name__)


def cipher():
    """AES-SIV, which makes the same of the same text: a sealed text can be looked for, and be unique."""
    if not settings.STRIPE_DATABASE_KEY:
        raise ImproperlyConfigured("There is no key to seal with: name a file that holds it in STRIPE_DATABASE_KEY_FILE.")
    return AESSIV(hashlib.sha512(settings.STRIPE_DATABASE_KEY.encode()).digest())


def seal(text):
    if not text or text.startswith(SEALED):
        return text
    return SEALED + urlsafe_b64encode(cipher().encrypt(text.encode(), None)).decode()


def unseal(text):
    """The text; nothing, where another key sealed it: then it is lost, and has to be given anew."""
    if not text or not text.startswith(SEALED):
        return text
    try:
        return cipher().decrypt(urlsafe_b64decode(text.removeprefix(SEALED)), None).decode()
    except InvalidTag:
        logger.warning("A secret in the database was sealed with another STRIPE_DATABASE_KEY.")
        return ""


class SealedCharField(models.CharField):
    """Plain in Python, sealed in the database and in what `dumpdata` writes. To a migration it is what it was before."""

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs

    def from_db_value(self, value, expression, connection):
        return unseal(value)

    def get_prep_value(self, value):
        return seal(super().get_prep_value(value))

    def value_to_string(self, obj):
        return seal(self.value_from_object(obj))
