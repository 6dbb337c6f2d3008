#!/usr/bin/env python3
"""localstripe, a Stripe on this machine, with what dj-stripe asks for besides: the account, and keys that are not accepted.

A key that ends in ``Revoked`` is refused as Stripe refuses one that was revoked. What localstripe knows is gone when it ends.
"""

import logging

from aiohttp import web
from localstripe.errors import UserError
from localstripe.server import app, get_api_key, json_response

PORT = 8420


@web.middleware
async def refuse_revoked_keys(request, handler):
    """Answer 401 in Stripe's own form, which shows the last characters of a key."""
    key = get_api_key(request) or ""
    if key.endswith("Revoked"):
        message = f"Invalid API Key provided: {key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"
        return UserError(401, message).to_response()
    return await handler(request)


async def account(_):
    """Return whose the key is: there is one account."""
    return json_response({"id": "acct_localstripe", "object": "account", "country": "US", "default_currency": "usd"})


async def balance(_):
    """Return what the account has, which is nothing."""
    return json_response({"object": "balance", "livemode": False, "available": [], "pending": []})


async def health(_):
    """Answer who asks whether it is there."""
    return web.Response(text="ok\n")


app.middlewares.append(refuse_revoked_keys)
app.router.add_get("/v1/account", account)
app.router.add_get("/v1/accounts/{id}", account)
app.router.add_get("/v1/balance", balance)
app.router.add_get("/_config/health", health)  # the one prefix that takes no key

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("aiohttp.access").addFilter(lambda record: "/_config/health" not in record.getMessage())
    web.run_app(app, port=PORT, print=None, access_log_format='"%r" %s %b')
