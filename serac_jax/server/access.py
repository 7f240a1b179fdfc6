"""Who may send requests: API keys, and which web pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serac_jax.server.problems import Problem
from serac_jax.server.settings import Settings, is_loopback
from serac_jax.server.tenants import KeyFile, Tenant

OPEN = ("/", "/healthz", "/readyz", "/openapi.json")  # what needs no key, and what is below "/page"
PAGE = "/page/"


class Access:
    """Refuses requests that nobody here has sent.

    Without keys, only this machine is listened to; then a page of another site, which the browser
    of this machine shows, must not get through. Its requests name another origin, or, where the
    name of its server was made to lead here (DNS rebinding), another host.

    Args:
        keys: None: nobody needs one.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyFile | None):
        self.app, self.keys, self.origins = app, keys, settings.origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            try:
                self.check_origin(headers)
                tenant = self.tenant(scope["path"], headers)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
            scope.setdefault("state", {})["tenant"] = tenant
        await self.app(scope, receive, send)

    def check_origin(self, headers: Headers) -> None:
        """Raises Problem for what a page of another site sends."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.keys and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            raise Problem(
                403,
                "this server has no API keys and answers to 127.0.0.1 and localhost only",
                "host",
            )
        if origin and origin not in self.origins and urlsplit(origin).netloc != host:
            raise Problem(
                403, "pages of another origin may not call; --allow-origin admits one", "origin"
            )

    def tenant(self, path: str, headers: Headers) -> Tenant:
        """Who sends a request. Raises Problem where that is nobody."""
        if not self.keys:
            return Tenant()
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (tenant := self.keys.find(key.strip())):
            return tenant
        if path in OPEN or path.startswith(PAGE):
            return Tenant(tags=(), may_edit=False)
        raise Problem(
            401,
            "an API key is needed, as the header 'Authorization: Bearer sk-serac-…'",
            "invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
