"""A proxy before Azurite that implements Put Blob From URL, which Azurite does not.

It reads the source over HTTP and stores it in Azurite with Put Blob, so conditions on the
destination are Azurite's. Source: Azure Storage REST API, "Put Blob From URL", "Blob service error
codes".
"""

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

from rogo_async.common.azure_storage import API_VERSION
from rogo_async.demo.servers.azurite import Azurite
from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.destination.blobs.shared_key import SharedKey
from tests.support.certificates import Authority
from tests.support.store_proxy import StoreProxy, running_proxy
from tests.support.string_to_sign import shared_key_header, string_to_sign

_FIRST_VERSION: Final = "2020-04-08"
_FIRST_VERSION_WITH_TOKENS: Final = "2020-10-02"
_MOST_BYTES: Final = 5_000 * 1024 * 1024
_LONGEST_URL: Final = 2048
_COPIED_PROPERTIES: Final = ("Content-Type", "Content-Encoding", "Content-Language")
_LISTED_BLOCK: Final = re.compile(rb"<Latest>([^<]+)</Latest>")
_CREATED: Final = 201
_UNVERIFIED: Final = "CannotVerifyCopySource"
Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
Refusal = tuple[int, str]
"""Status and x-ms-error-code."""


class _Unreadable(Exception):
    """The service cannot read the source: its answer."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


async def _nothing() -> None:
    """Before the source is read."""


class CopyProxy(StoreProxy):
    """The service as documented. The attributes make it fail, lie, or lose its reply."""

    account: str
    account_key: str

    def __init__(self, azurite: str, session: aiohttp.ClientSession) -> None:
        super().__init__(azurite, session)
        self.copies: list[int] = []
        """The status of each answer to Put Blob From URL."""
        self.asked: list[dict[str, str]] = []
        """The headers of each Put Blob From URL; names in lower case."""
        self.refuse: Callable[[], Refusal | None] = lambda: None
        self.before_read: Callable[[], Awaitable[None]] = _nothing
        self.damage: Callable[[bytes], bytes] = lambda data: data
        """Changes the bytes that are stored, after the service has verified them."""
        self.computed_md5: Callable[[str], str | None] = lambda digest: digest
        """The digest in the answer to a copy; None: it has none."""
        self.lose_reply: Callable[[], bool] = lambda: False
        self.hold_next = False
        """Lose the reply to the next copy, and store its bytes only at ``finish_held``."""
        self._held: list[Callable[[], Awaitable[Reply]]] = []
        self.blocks: defaultdict[str, set[bytes]] = defaultdict(set)
        """The blocks of each blob. A copy discards them; Azurite keeps them."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        if "x-ms-copy-source" not in request.headers or "x-ms-blob-type" not in request.headers:
            return await super().answer(request)
        headers = dict(request.headers)
        self.asked.append({name.lower(): text for name, text in headers.items()})
        if self._has_wrong_signature(request):
            reply = _refused(403, "AuthenticationFailed")
        else:
            body = await request.read()
            reply = await self.send(request.method, request.raw_path, headers, body)
        if reply[0] == 501:  # the request is authorized, but Azurite does not implement it
            reply = await self._copy(request)
        self.copies.append(reply[0])
        if self.lose_reply() and request.transport is not None:
            request.transport.abort()
        status, returned, body = reply
        return web.Response(status=status, headers=returned, body=body or None)

    def _has_wrong_signature(self, request: web.Request) -> bool:
        """Whether a signature is wrong. Azurite would compare it, too."""
        sent = request.headers.get("Authorization", "")
        if not sent.startswith("SharedKey "):
            return False
        url = URL(request.raw_path, encoded=True)
        text = string_to_sign(request.method, url, request.headers, self.account)
        return sent != shared_key_header(text, self.account, self.account_key)

    async def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Send a request to Azurite, which keeps the blocks of a blob that a copy replaces."""
        url = URL(path, encoded=True)
        match url.query.get("comp"):
            case "block":
                self.blocks[url.raw_path].add(url.query["blockid"].encode())
            case "blocklist" if method == "PUT":
                if not self.blocks[url.raw_path].issuperset(_LISTED_BLOCK.findall(body)):
                    return _refused(400, "InvalidBlockList")
        return await super().send(method, path, headers, body)

    def count(self, operation: str) -> int:
        """The number of requests of this kind, such as GET. Copies are not counted."""
        return sum(request.operation == operation for request in self.requests)

    async def finish_held(self) -> int:
        """Store the held copy now; returns Azurite's status."""
        (store,) = self._held
        return (await store())[0]

    async def _copy(self, request: web.Request) -> Reply:
        headers = {name.lower(): text for name, text in request.headers.items()}
        refusal = _refusal_of(headers) or self.refuse()
        if refusal is not None:
            return _refused(*refusal)
        await self.before_read()
        try:
            data, properties = await self._read(headers)
        except _Unreadable as error:
            return _refused(error.status, error.code)
        digest = _md5_of(data)
        if headers.get("x-ms-source-content-md5", digest) != digest:
            return _refused(400, "Md5Mismatch")
        if self.hold_next and request.transport is not None:
            self.hold_next = False
            self._held.append(lambda: self._store(request, headers, properties, data))
            request.transport.abort()
            return _refused(500, "")
        reply = await self._store(request, headers, properties, self.damage(data))
        if reply[0] == _CREATED:
            reply[1].pop("content-md5", None)
            computed = self.computed_md5(_md5_of(self.damage(data)))
            if computed is not None:
                reply[1]["content-md5"] = computed
        return reply

    async def _read(self, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        """The bytes and properties of the source. Raises _Unreadable."""
        url = URL(headers["x-ms-copy-source"], encoded=True)
        if url.host == LOOPBACK and url.path.startswith(f"{self._azurite.path}/"):
            # A client may have reached Azurite through further proxies; the service does not.
            url = URL(f"{self._azurite.origin()}{url.raw_path_qs}", encoded=True)
        sent = {"x-ms-version": headers["x-ms-version"]}
        if "x-ms-source-if-match" in headers:
            sent["If-Match"] = headers["x-ms-source-if-match"]
        if "x-ms-copy-source-authorization" in headers:
            sent["Authorization"] = headers["x-ms-copy-source-authorization"]
        try:
            async with self._session.get(url, headers=sent, allow_redirects=False) as response:
                code = response.headers.get("x-ms-error-code", "")
                if response.status == 412:
                    raise _Unreadable(412, "SourceConditionNotMet")
                if code == "PublicAccessNotPermitted":
                    raise _Unreadable(409, code)
                if response.status != 200:
                    raise _Unreadable(404 if response.status == 404 else 403, _UNVERIFIED)
                if (response.content_length or 0) > _MOST_BYTES:
                    raise _Unreadable(409, "CannotVerifyCopySource")
                return await response.read(), dict(response.headers)
        except aiohttp.ClientError:
            raise _Unreadable(500, _UNVERIFIED) from None

    async def _store(
        self, request: web.Request, headers: dict[str, str], source: dict[str, str], data: bytes
    ) -> Reply:
        kept = {
            name: text
            for name, text in headers.items()
            if name.startswith("x-ms-blob-")
            or name in {"x-ms-version", "if-none-match", "content-type"}
        }
        if headers.get("x-ms-copy-source-blob-properties") != "false":
            for name in _COPIED_PROPERTIES:
                if name in source:
                    kept.setdefault(f"x-ms-blob-{name.lower()}", source[name])
        # The names of metadata keep their case.
        kept |= _metadata_of(request.headers) or _metadata_of(source)
        kept.pop("x-ms-blob-content-md5", None)  # Azurite would compare it with damaged bytes
        kept["x-ms-blob-content-md5"] = _md5_of(data)
        path = request.raw_path.partition("?")[0]
        if kept.get("if-none-match") == "*" and not await self._is_committed(path):
            del kept["if-none-match"]
        signed = self._key.signed("PUT", path, kept, len(data))
        reply = await self.send("PUT", path, signed, data)
        if reply[0] == _CREATED:
            self.blocks[path].clear()
        return reply

    @property
    def _key(self) -> SharedKey:
        return SharedKey(self.account, self.account_key)

    async def _is_committed(self, path: str) -> bool:
        """Whether a blob exists. For Azurite it does so from its first block on."""
        headers = self._key.signed("HEAD", path, {"x-ms-version": API_VERSION}, 0)
        return (await self.send("HEAD", path, headers, b""))[0] == 200


def _refusal_of(headers: dict[str, str]) -> Refusal | None:
    version = headers.get("x-ms-version", "")
    if version < _FIRST_VERSION or headers["x-ms-blob-type"] != "BlockBlob":
        return 400, "InvalidHeaderValue"
    if "x-ms-copy-source-authorization" in headers and version < _FIRST_VERSION_WITH_TOKENS:
        return 400, "InvalidHeaderValue"
    if headers.get("content-length", "0") != "0":
        return 400, "InvalidHeaderValue"
    if len(headers["x-ms-copy-source"]) > _LONGEST_URL:
        return 400, "InvalidHeaderValue"
    return None


def _metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    return {n: text for n, text in headers.items() if n.lower().startswith("x-ms-meta-")}


def _refused(status: int, code: str) -> Reply:
    body = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    )
    return status, {"x-ms-error-code": code, "Content-Type": "application/xml"}, body


def _md5_of(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@asynccontextmanager
async def copy_proxy(
    azurite: Azurite, authority: Authority | None = None
) -> AsyncIterator[CopyProxy]:
    """A running proxy; ``endpoint`` replaces the endpoint of Azurite."""
    azurite = getattr(azurite, "behind", azurite)  # with ROGO_TEST_COPY: past the other proxy
    async with running_proxy(azurite.endpoint, CopyProxy, authority) as proxy:
        proxy.account, proxy.account_key = azurite.account_name, azurite.account_key
        yield proxy


def behind(proxy: CopyProxy, azurite: Azurite, env: Mapping[str, str]) -> dict[str, str]:
    """The environment with the proxy as the store and as the source."""
    return redirected(env, azurite.origin, str(URL(proxy.endpoint).origin()))


def redirected(env: Mapping[str, str], before: str, after: str) -> dict[str, str]:
    """The environment with another origin of the store and of the source."""
    names = ("AZURE_STORAGE_CONNECTION_STRING", "ROGO_SOURCE_HOSTS", "ROGO_SOURCE_SAS_TOKEN")
    return {**env, **{name: env[name].replace(before, after) for name in names}}


def redirect_urls(path: Path, before: str, after: str) -> None:
    """Replace the origin of the source in the input."""
    path.write_text(path.read_text("utf-8").replace(before, after), "utf-8")
