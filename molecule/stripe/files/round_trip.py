"""Signs in, has a customer made at the API, and waits until its event came back; prints what the pages say."""

import os
import re
import sys
import time

import requests

SITE = "http://django:8000"
session = requests.Session()
session.headers["Host"] = "localhost"


def post(path, **fields):
    """Fill in a form of the site."""
    page = session.get(SITE + path, headers={"Accept": "text/html"}, timeout=10)
    fields["csrfmiddlewaretoken"] = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    return session.post(SITE + path, fields, allow_redirects=False, timeout=10)


print(session.get(f"{SITE}/stripe-test", timeout=10).text.strip())
post("/admin/login/", username="admin", password=os.environ["PASSWORD"])
page = post("/stripe-test/round-trip").headers["Location"]
for _ in range(60):
    answer = session.get(SITE + page, headers={"Accept": "application/json"}, timeout=10).json()
    if answer["done"]:
        print(session.get(SITE + page, timeout=10).text.strip())
        sys.exit()
    time.sleep(0.5)
sys.exit(f"not within half a minute: {answer}")
