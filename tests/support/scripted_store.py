"""A blob store whose answers are scripted, for tests of requests and answers at the wire."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from yarl import URL

from rogo_async.common.settings import Settings
from tests.support.certificates import Authority
from tests.support.store_proxy import StoreProxy, StoreRequest, running_proxy
from tests.support.string_to_sign import shared_key_header, string_to_sign

ACCOUNT: Final = "marking"
KEY: Final = "c2VjcmV0IG9mIG5vIGFjY291bnQ="
_OF_ANY_CLIENT: Final = frozenset(
    {"accept", "accept-encoding", "authorization", "host", "user-agent", "x-ms-date"}
    | {"x-ms-client-request-id", "x-ms-return-client-request-id"}
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``code`` is Azure's name of the error."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class ScriptedStore(StoreProxy):
    """Answers with ``replies`` in turn, and with the last one from then on.

    A request with a wrong signature is refused.
    """

    def __init__(self, endpoint: str, session: aiohttp.ClientSession) -> None:
        super().__init__(endpoint, session)
        self.replies: list[Reply] = []

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """The next reply."""
        sent = headers.get("Authorization", "")
        if sent.startswith("SharedKey "):
            text = string_to_sign(method, URL(path, encoded=True), headers, ACCOUNT)
            if sent != shared_key_header(text, ACCOUNT, KEY):
                return 403, {"x-ms-error-code": "WrongSignature"}, b""
        reply, *others = self.replies
        if others:
            self.replies = others
        own = {"Content-Type": "application/xml"}
        if reply.code:
            own["x-ms-error-code"] = reply.code
        return reply.status, {**own, **reply.headers}, reply.body


def scripted_store(
    authority: Authority | None = None,
) -> AbstractAsyncContextManager[ScriptedStore]:
    """A running store, over https if there is an authority."""
    scheme = "http" if authority is None else "https"
    return running_proxy(f"{scheme}://127.0.0.1:1/{ACCOUNT}", ScriptedStore, authority)


def headers_of(request: StoreRequest) -> dict[str, str]:
    """The headers that belong to the operation; their names are in lower case."""
    return {name: text for name, text in request.headers.items() if name not in _OF_ANY_CLIENT}


def settings(**others: Any) -> Settings:
    """Valid settings with the container ``migrated``; ``others`` name the account."""
    fields: dict[str, Any] = {
        "database_url": "postgresql://writer@db.example:5432/marking",
        "data_warehouse_connection_string": "DRIVER={x};SERVER=w",
        "rogo_source_hosts": "files.example",
        "rogo_container": "migrated",
        "rogo_instance_id": "lms",
        "rogo_consumer_key": "key",
        "rogo_consumer_name": "Example LMS",
        "rogo_return_url_base": "https://lms.example/",
    }
    return Settings(**{**fields, **others, "_env_file": None})


def with_key(endpoint: str) -> Settings:
    """Settings with an account key for a store at this endpoint."""
    text = f"BlobEndpoint={endpoint};AccountName={ACCOUNT};AccountKey={KEY}"
    return settings(azure_storage_connection_string=text)
