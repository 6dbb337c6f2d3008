"""Judges a Stripe key before anybody uses it: what the libraries say of a bad one has the key in it."""

import re

FORM = re.compile(r"(?:sk|rk)_(test|live)_[A-Za-z0-9]{24,}")
LOOKS = "sk_test_, sk_live_, rk_test_ or rk_live_ and 24 or more letters and digits"


def judge(key, mode):
    """The key where it is one of this mode, and a sentence on what is wrong with it where it is not."""
    if not key:
        return "", "There is no Stripe key: name a file that holds it in STRIPE_SECRET_KEY_FILE."
    match = FORM.fullmatch(key)
    if not match:
        return "", f"The Stripe key is malformed: it has to be {LOOKS}."
    if match[1] != mode:
        return "", f"The Stripe key is a {match[1]} key, and this site takes none but {mode} keys."
    return key, ""
