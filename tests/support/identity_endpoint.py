"""Issues access tokens as App Service does for a managed identity, and as Microsoft Entra does.

The tokens are unsigned, which is enough for Azurite. Each has a number, so that no two are equal.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from aiohttp import web

from rogo_async.demo.servers.ports import LOOPBACK
from tests.support.certificates import Certificate, server_context

SECRET: Final = "identity-header-canary"
ISSUER: Final = "https://sts.windows.net/00000000-0000-0000-0000-000000000000/"


@dataclass(slots=True)
class IdentityEndpoint:
    """Serves on a free port, over https if it has a certificate.

    ``life_s`` is the life of a token, ``stated_life_s`` the life that the answer states. ``status``
    other than 200 is an answer without a token. ``requests`` are the parameters of all requests.
    """

    certificate: Certificate | None = None
    life_s: int = 3600
    stated_life_s: int | None = None
    status: int = 200
    body: Mapping[str, str] = field(default_factory=dict)
    requests: list[Mapping[str, str]] = field(default_factory=list)
    origin: str = ""
    issued: int = 0
    _runner: web.AppRunner | None = None
    port: int = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, after a stop on the same port."""
        app = web.Application()
        app.router.add_get("/msi/token", self._managed)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._entra)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        tls = None if self.certificate is None else server_context(self.certificate)
        site = web.TCPSite(self._runner, LOOPBACK, self.port, ssl_context=tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.origin = f"{'https' if tls else 'http'}://{LOOPBACK}:{self.port}"

    async def stop(self) -> None:
        """Stop listening: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that App Service sets."""
        return {"IDENTITY_ENDPOINT": f"{self.origin}/msi/token", "IDENTITY_HEADER": SECRET}

    async def _managed(self, request: web.Request) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != SECRET:
            return web.json_response({"error": "unauthorized"}, status=401)
        return self._answer(dict(request.query))

    async def _entra(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        return self._answer(form | {"tenant": request.match_info["tenant"]})

    def _answer(self, parameters: Mapping[str, str]) -> web.Response:
        self.requests.append(parameters)
        if self.status != 200:
            return web.json_response(dict(self.body), status=self.status)
        self.issued += 1
        stated_s = self.life_s if self.stated_life_s is None else self.stated_life_s
        resource = parameters.get("resource", "https://storage.azure.com")
        return web.json_response(
            {
                "access_token": access_token(self.life_s, self.issued),
                "expires_on": str(int(time.time()) + stated_s),
                "expires_in": stated_s,
                "resource": resource,
                "token_type": "Bearer",
            }
        )


def access_token(life_s: int, number: int = 1) -> str:
    """A token for Azure Storage that Azurite accepts for ``life_s`` seconds."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": ISSUER,
        "jti": str(number),
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + life_s,
    }
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    texts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*parts, b"unsigned"]]
    return ".".join(texts)
