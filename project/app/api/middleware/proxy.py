"""Request middleware for proxies: the prefix of paths (``ROOT_PATH``), the public address, the client's address.

It is around all others, so that they and the routes see one form of every path.
"""

from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Site:
    """The host names under which browsers reach the service, as one request tells them."""

    hosts: tuple[str, ...]
    """Of ``PUBLIC_URL``, ``X-Forwarded-Host`` of a trusted proxy, and ``Host``; each may have a port."""
    is_proxied: bool
    """Whether the request came from a trusted proxy."""

    def is_origin(self, origin: str) -> bool:
        """Whether a page of ``origin`` is the service's own.

        Without a port, a proxy's host stands for all its ports, because proxies often pass on the name only (nginx's
        ``$host``).
        """
        try:
            page = urlsplit(origin)
            port = page.port or DEFAULT_PORTS.get(page.scheme)
            known = [urlsplit(f"//{host}".lower()) for host in self.hosts]
            is_known = self.is_proxied or port in DEFAULT_PORTS.values()
            return any(
                own.hostname == page.hostname and (own.port == port or (own.port is None and is_known)) for own in known
            )
        except ValueError:
            # A browser sends neither such an origin nor such a host.
            return False


class ProxyMiddleware:
    """ASGI middleware: puts the prefix before every path, and evaluates the headers of trusted proxies."""

    def __init__(self, app: ASGIApp, *, trusted_proxies: str, root_path: str, public_url: str | None) -> None:
        """``root_path``: empty, or ``/a/b``. ``public_url``: without a path's last slash."""
        self._app = app
        # Sets the scheme and the client's address.
        self._proxied = ProxyHeadersMiddleware(cast("Any", self._pass_on), trusted_proxies)
        self._root = root_path
        self._public = urlsplit(public_url) if public_url else None
        # With its port, which is known, unlike that of a proxy's Host header.
        self._public_host = _with_port(self._public) if self._public else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Complete the request's scope, and pass it on."""
        if scope["type"] == "http":
            client = scope.get("client")
            is_proxied = client is not None and client[0] in self._proxied.trusted_hosts
            # Of several, the first is what the browser sent to the outermost proxy.
            forwarded = _header(scope, b"x-forwarded-host").partition(",")[0].strip() if is_proxied else ""
            hosts = [self._public_host, forwarded, _header(scope, b"host")]
            scope.setdefault("state", {})["site"] = Site(tuple(filter(None, hosts)), is_proxied)
            if self._root:
                self._add_root(scope)
        await self._proxied(cast("Any", scope), cast("Any", receive), cast("Any", send))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._public and scope["type"] == "http":
            scope["scheme"] = self._public.scheme
        await self._app(scope, receive, send)

    def _add_root(self, scope: Scope) -> None:
        """Add the prefix to a path from which a proxy has removed it."""
        scope["root_path"] = self._root
        path: str = scope["path"]
        if path == self._root:
            scope["path"] = f"{path}/"
        elif not path.startswith(f"{self._root}/"):
            scope["path"] = self._root + path
            scope["raw_path"] = self._root.encode() + (scope.get("raw_path") or path.encode())


def _with_port(url: SplitResult) -> str:
    return url.netloc if url.port else f"{url.netloc}:{DEFAULT_PORTS[url.scheme]}"


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin1") for known, value in scope["headers"] if known == name), "")
