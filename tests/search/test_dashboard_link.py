"""The page that logs a browser in to Ray's dashboard: to whom it gives the token, and to whom not."""

import http.client
import re
import shutil
from urllib.parse import urlsplit

import pytest

from search.dashboard_link import COOKIE, DashboardLink

TOKEN = "t0ken-of-the-test"
DASHBOARD = "http://127.0.0.1:8265"


@pytest.fixture
def link():
    with DashboardLink(DASHBOARD, TOKEN) as opened:
        yield opened


def ask(url, path=None, method="GET", **headers):
    """Status, headers, body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.putrequest(method, path if path is not None else parts.path, skip_host="host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read().decode()
    connection.close()
    return found


def test_the_link_sets_the_cookie_that_no_script_reads_and_goes_on_to_the_dashboard(link):
    status, headers, body = ask(link.url)
    assert status == 200
    assert headers["Set-Cookie"] == f"{COOKIE}={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert f'content="0; url={DASHBOARD}"' in body
    assert TOKEN not in body
    assert TOKEN not in link.url


def test_the_link_works_once(link):
    ask(link.url)
    status, headers, body = ask(link.url)
    assert status == 410
    assert "Set-Cookie" not in headers
    assert "ray get-auth-token" in body


def test_nobody_gets_the_token_without_the_secret_and_the_link_still_works_after(link):
    secret = urlsplit(link.url).path
    for path in (
        "/",
        "/favicon.ico",
        secret[:-1],
        secret + "x",
        secret + "/",
        secret + "?x",
        secret.swapcase(),
        "/%C3%A9",
    ):
        status, headers, body = ask(link.url, path)
        assert (status, "Set-Cookie" in headers, TOKEN in body) == (404, False, False), path
    for host in ("localhost", "evil.example", f"evil.example:{urlsplit(link.url).port}", "127.0.0.1", ""):
        status, headers, _ = ask(link.url, host=host)
        assert (status, "Set-Cookie" in headers) == (403, False), host
    for method in ("HEAD", "POST", "OPTIONS"):
        status, headers, _ = ask(link.url, method=method)
        assert (status, "Set-Cookie" in headers) == (501, False), method
    status, headers, _ = ask(link.url, sec_purpose="prefetch;prerender")
    assert (status, "Set-Cookie" in headers) == (503, False)
    assert ask(link.url)[0] == 200


def test_it_listens_on_loopback_alone_and_not_longer_than_it_should(link):
    assert urlsplit(link.url).hostname == "127.0.0.1"
    with DashboardLink(DASHBOARD, TOKEN) as other:
        assert urlsplit(other.url).path != urlsplit(link.url).path
        assert len(urlsplit(other.url).path) > 30
    with pytest.raises(ConnectionRefusedError):
        ask(other.url)


def test_it_says_nothing(link, capfd):
    ask(link.url)
    ask(link.url, "/other")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_in_a_browser_the_link_of_a_running_search_leads_to_its_dashboard_and_its_named_workers(place):
    """Chromium and Ray's own dashboard, while the search trains."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    started = place.start("search.run", "pairs.py", "--dashboard", "--seeds", "9", "--epochs", "20000")
    started.wait_for("logs a browser in, once: http")
    link = re.search(r"once: (http\S+)", started.output)[1]
    assert place.ray_token() not in started.output
    started.wait_for(r"epoch \d+/20000")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        page = browser.new_page()
        page.goto(link)
        page.get_by_text("Recent jobs").wait_for(timeout=60_000)  # the token's form has no such words
        base = page.url.partition("#")[0]
        page.goto(f"{base}#/actors")
        page.get_by_text("pairs-1, begun with pairs-1.1-mlp-hidden=8-seed=0").wait_for(timeout=60_000)
        assert page.get_by_text("TrialActor", exact=True).count() == 2
        (cookie,) = page.context.cookies(base)
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")
        assert page.request.get(link).status == 410
        browser.close()
    seen = ""
    while not re.search(
        r"ray::pairs-1\.\d+-(mlp-hidden=8|fff-depth=2)-seed=\d", seen
    ):  # between epochs it is Ray's own
        seen = " ".join(" ".join(process.cmdline()) for process in started.note_family())
    started.ctrl_c()
    assert started.finish() == 130
