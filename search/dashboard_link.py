"""A link that logs a browser in to Ray's dashboard: a page on loopback sets the cookie that the dashboard wants.

Ray's dashboard asks for a token, and takes none from its own address. The page behind the link hands the token to the
browser as Ray's own log-in form does, in a cookie that no script reads, and goes on to the dashboard. The link works once:
whoever reads it later, in a log or in a browser's history, gets nothing.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

COOKIE = "ray-authentication-token"
"""The name under which Ray's dashboard looks for the token."""
LOOPBACK = "127.0.0.1"
SECRET_BYTES = 24
PATIENCE_SECONDS = 5.0
"""How long a connection may take to say what it wants."""
POLL_SECONDS = 0.1
"""How soon the page is gone when its context ends."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Ray dashboard</title>
<meta http-equiv="refresh" content="0; url={url}"><p>Logged in; going on to <a href="{url}">the dashboard</a>.</p></html>
"""
_USED = "This link has been used. The browser that followed it is logged in; others want what `ray get-auth-token` prints.\n"


class DashboardLink:
    """Serves the page while the context lasts, on a free port of loopback.

    Args:
        dashboard: the dashboard's URL on loopback, such as http://127.0.0.1:8265.
        token: what it asks for; never printed, and given to the first who brings the link's secret.
    Raises:
        OSError: no port is free.
    """

    def __init__(self, dashboard: str, token: str) -> None:
        self._dashboard, self._token = dashboard, token
        self._secret = secrets.token_urlsafe(SECRET_BYTES)
        self._lock, self._used = threading.Lock(), False
        link = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                link._answer(self)

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self._host = f"{LOOPBACK}:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="dashboard link", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://{self._host}/{self._secret}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: _Handler) -> None:
        # another name for this address is how a page elsewhere would reach it through the browser (DNS rebinding)
        if request.headers.get("Host") != self._host:
            request.reply(HTTPStatus.FORBIDDEN, "This address is reached by its number alone.\n")
            return
        given = request.path.removeprefix("/").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._secret.encode()):
            request.reply(HTTPStatus.NOT_FOUND, "There is nothing here.\n")
            return
        if "prefetch" in (request.headers.get("Sec-Purpose") or ""):  # a browser that guesses would use the link up
            request.reply(HTTPStatus.SERVICE_UNAVAILABLE, "Not before it is asked for.\n")
            return
        with self._lock:
            used, self._used = self._used, True
        if used:
            request.reply(HTTPStatus.GONE, _USED)
            return
        # a page and no redirect: a Strict cookie does not go with a redirect that a page elsewhere began
        cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
        request.reply(HTTPStatus.OK, _PAGE.format(url=self._dashboard), {"Set-Cookie": cookie}, kind="text/html")


class _Handler(BaseHTTPRequestHandler):
    """Answers and says nothing: what a request was must stand in no log."""

    timeout = PATIENCE_SECONDS
    server_version, sys_version = "arbor", ""

    def reply(
        self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None, kind: str = "text/plain"
    ) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its parent's name
        """Nothing."""


def dashboard_token() -> str | None:
    """What the dashboard of this process's Ray asks for; none where it asks for nothing, or Ray keeps it elsewhere."""
    try:
        import ray
        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        raylet: Any = ray._raylet
        loader = raylet.AuthenticationTokenLoader.instance()
        if not is_token_auth_enabled() or not loader.has_token():
            return None
        token = str(loader.get_raw_token())
    except (ImportError, AttributeError):  # these names are not part of Ray's interface
        return None
    return token or None
