"""Who may ask at all: a token, no web page of another site, no endless body."""

import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 65536
"""Bytes; the longest honest request has some hundred."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """ASGI middleware that answers what may not pass.

    With a token, a request needs `Authorization: Bearer TOKEN`, or Basic with the token as the
    password, which is what `http://serl:TOKEN@host:5000/` makes of it: SERL's environments take
    such a URL. Without one, a request must name this machine in its Host header, and in no case may
    it come from a web page of another site: a browser on the robot's PC would otherwise let any
    page move the arm.
    """

    def __init__(self, app: Application, token: str | None = None) -> None:
        """Guard an application."""
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http":
            headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
            status, reason = self._judge(headers)
            if status:
                await _answer(send, status, reason)
                return
        await self._app(scope, receive, send)

    def _judge(self, headers: dict[str, str]) -> tuple[int, str]:
        host = headers.get("host", "")
        if self._token is None:
            if not is_loopback(urlsplit(f"//{host}").hostname or ""):
                return 403, f"the host '{host}' is not this machine; other machines need a token"
        elif not _has_token(headers.get("authorization", ""), self._token):
            return 401, "the token is missing or wrong: Authorization: Bearer TOKEN"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, f"a page of '{origin}' may not use the robot"
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal():
            return 411, "say the body's length in Content-Length"
        if int(length) > MAX_BODY:
            return 413, f"the body has {length} bytes; at most {MAX_BODY} are allowed"
        return 0, ""


def _has_token(authorization: str, token: str) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            _, _, credentials = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(credentials.encode(), token.encode())


async def _answer(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the body was not read
    ]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="serl-rt"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
