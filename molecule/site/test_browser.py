"""What a person sees of the site, in a headless Chromium."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

URL = os.environ["SITE_URL"]
SCREENSHOTS = Path(os.environ["SCREENSHOTS"])
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--unsafely-treat-insecure-origin-as-secure={URL}",  # a NodePort is no loopback address, and has no HTTPS either
]


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a path in a window of its own; whatever the browser complains about fails the test."""
    complaints, contexts = [], []

    def open_page(path="/", **options):
        contexts.append(browser.new_context(base_url=URL, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda line: line.type in ("error", "warning") and complaints.append(f"{line.text} {line.location}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
        page.on("request", lambda request: request.url.startswith(URL) or complaints.append(f"a stranger: {request.url}"))
        assert page.goto(path).ok
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def test_states_are_words(open_page):
    page = open_page()
    expect(page).to_have_title(re.compile("running in"))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"running in {os.environ['SITE_ENVIRONMENT']}")
    expect(page.get_by_role("status")).to_have_text("All services are up.")
    for slug in ("mysql", "redis", "memcached"):
        expect(page.locator(f"#{slug} [data-field=state]")).to_have_text("up")
        expect(page.locator(f"#{slug} [data-field=latency]")).to_have_text(re.compile(r"^[\d.]+ ms$"))
        expect(page.locator(f"#{slug} [data-field=checked]")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d UTC$"))
    page.screenshot(path=SCREENSHOTS / "status.png", full_page=True)


def test_it_refreshes_itself(open_page):
    page = open_page()
    checked = page.locator("#mysql [data-field=checked]")
    before = checked.text_content()
    page.evaluate("window.stillHere = true")
    expect(checked).not_to_have_text(before, timeout=15_000)
    assert page.evaluate("window.stillHere"), "the page was loaded again instead of refreshed in place"


def test_a_policy_keeps_strangers_out(open_page):
    page = open_page()
    policy = page.request.get("/", headers={"Accept": "text/html"}).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(open_page, scheme):
    page = open_page(viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True, color_scheme=scheme)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.screenshot(path=SCREENSHOTS / f"phone-{scheme}.png", full_page=True)
    assert width <= 320


def test_without_javascript(open_page):
    page = open_page(java_script_enabled=False)
    text = page.locator("main").inner_text()
    for words in ("running in", "All services are up.", "MySQL", "Redis", "Memcached"):
        assert words in text
    assert text.count("ms") == 3
    page.screenshot(path=SCREENSHOTS / "without-javascript.png", full_page=True)


@pytest.mark.parametrize("path", ["/mysql", "/redis", "/memcached"])
def test_the_other_pages(open_page, path):
    page = open_page("/")
    page.locator(f"main a[href='{path}']").click()
    expect(page).to_have_url(URL + path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_signing_in(open_page):
    page = open_page("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(os.environ["SUPERUSER_PASSWORD"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "admin.png")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Logged out")).to_be_visible()
