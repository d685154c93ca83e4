"""Which requests are answered: of some methods, to a name of this server, from who knows the token.

A page of another site can have a browser send requests to `localhost`. It cannot read what comes back, unless
its own name is made to resolve to 127.0.0.1 (DNS rebinding): then the `Host` header names that site, and is
refused.
"""

import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "tuner_token"
LEAST_TOKEN = 16
"""Characters of a token: what cannot be guessed over a network."""

_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
DEFAULT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
FIXED_HEADERS = {**_HEADERS, "content-security-policy": DEFAULT_POLICY, "cache-control": "no-store"}
"""Of every answer that does not say otherwise."""


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """An ASGI application around another.

    Args:
        app: what answers.
        names: the host names it answers to, besides addresses.
        token: that requests must bring; `None` for a server that only this machine reaches.
        methods: that are answered.
        pages: whether browsers open pages here: the token may come in an address, and becomes a cookie, and
            other sites may link here. Without pages it comes in the `Authorization` header alone.
    """

    def __init__(
        self,
        app: App,
        names: frozenset[str],
        token: str | None = None,
        methods: frozenset[str] = frozenset({"GET"}),
        pages: bool = True,
    ) -> None:
        self._app, self._methods, self._pages = app, methods, pages
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._token = None if token is None else token.encode()
        # The cookie is not the token: who reads a browser's files does not learn it.
        self._pass = secrets.token_hex(32).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refused = self._refused(scope["method"], headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        if self._token is not None and not self._knows(headers):
            offered = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "")
            if not (self._pages and _same(offered.encode(), self._token)):
                how = "open the address that it printed, with ?token=..., or " if self._pages else ""
                await _answer(
                    send,
                    401,
                    f"this server wants its token: {how}send the header Authorization: Bearer TOKEN",
                    {"www-authenticate": "Bearer"},
                )
                return
            if not scope["path"].startswith("/api/"):
                await self._welcome(scope, send)
                return
        await self._app(scope, receive, _with_headers(send))

    def admits(self, method: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is let in as it is; the names of its headers are in lower case."""
        return self._refused(method, headers) is None and (self._token is None or self._knows(headers))

    def _refused(self, method: str, headers: Mapping[str, str]) -> tuple[int, str, dict[str, str]] | None:
        if method not in self._methods:
            why = ": this server only reads" if self._methods == {"GET"} else ""
            return 405, f"{method} is not answered{why}", {"allow": ", ".join(sorted(self._methods))}
        if not self._is_ours(headers.get("host", "")):
            return (
                421,
                (
                    "the Host header names another server: open this one by its address, or by a name given "
                    "with --name"
                ),
                {},
            )
        # Other sites' pages may link here; they have no business in loading anything.
        linked = self._pages and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") == "cross-site" and not linked:
            return 403, "a page of another site may not load anything from here", {}
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.lower().rstrip(".")
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        # Rebinding takes a name; with a token, whoever has an address of this machine may use it.
        return address.is_loopback or self._token is not None

    def _knows(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        assert self._token is not None
        if scheme.lower() == "bearer" and _same(given.strip().encode("latin-1"), self._token):
            return True
        if not self._pages:
            return False
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value.encode(), self._pass)

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """Takes the token out of the address, where histories would keep it, and into a cookie.

        A strict cookie would not come with the redirected request where the first was a link on another page.
        """
        query = urlencode(
            [(k, v) for k, v in parse_qsl(scope["query_string"].decode("latin-1")) if k != "token"]
        )
        # One slash: two would name another host.
        path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/\\")
        cookie = f"{COOKIE}={self._pass.decode()}; HttpOnly; SameSite=Lax; Path=/"
        await _answer(
            send, 303, "", {"location": path + (f"?{query}" if query else ""), "set-cookie": cookie}
        )


def _same(given: bytes, right: bytes) -> bool:
    """Compares in a time that says nothing about either, nor about their lengths."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(right).digest())


def _with_headers(send: Send) -> Send:
    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            added = [(k.encode(), v.encode()) for k, v in FIXED_HEADERS.items() if k.encode() not in there]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return wrapped


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"error": text}).encode() if text else b""
    send = _with_headers(send)
    named = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    encoded = [(k.encode(), v.encode("latin-1")) for k, v in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
