"""ROGO_TEST_COPY=1: the tests with a service that copies every file that a source states fully.

Azurite is behind the proxy that implements Put Blob From URL, the scripted source states MD5 and
ETag, and every host of this machine counts as Azure Blob Storage.
"""

import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, cast

from rogo_async.demo.servers.azurite import Azurite
from rogo_async.demo.servers.scripted_source import Answer, ScriptedSource
from rogo_async.demo.servers.stack import Stack
from rogo_async.pipeline import server_side_copy
from tests.support.copy_proxy import CopyProxy, copy_proxy

IS_ON: Final = bool(os.environ.get("ROGO_TEST_COPY"))


def count_this_machine_as_azure() -> None:
    """In this process, and in those that are forked from it."""
    patched: Any = server_side_copy
    patched._AZURE_HOST = re.compile(r"127\.0\.0\.1|localhost")


class AzuriteBehindProxy:
    """Has the address of the proxy; all else is Azurite's."""

    origin = Azurite.origin
    endpoint = Azurite.endpoint
    connection_string = Azurite.connection_string

    def __init__(self, azurite: Azurite, proxy: CopyProxy) -> None:
        self.behind = azurite
        self.port = proxy.port

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


@asynccontextmanager
async def copying(stack: Stack) -> AsyncIterator[Stack]:
    """The same stack with the service. Its processes must be new: see ``preloaded``."""
    count_this_machine_as_azure()
    async with copy_proxy(stack.azurite) as proxy:
        azurite = stack.azurite
        stack.azurite = cast("Azurite", AzuriteBehindProxy(azurite, proxy))
        _state_digests(stack.source)
        yield stack
        stack.azurite = azurite


def _state_digests(source: ScriptedSource) -> None:
    scripted: Any = source
    due = scripted._due

    def stating(path: str) -> Answer:
        answer: Answer = due(path)
        if answer.status != 200:
            return answer
        digest = base64.b64encode(hashlib.md5(answer.body, usedforsecurity=False).digest()).decode()
        return replace(
            answer, headers={"Content-MD5": digest, "ETag": f'"{digest}"', **answer.headers}
        )

    scripted._due = stating
