"""The files of one submission side by side: how their ends meet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from yarl import URL

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, FailureCode, RowError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.common.shutdown import StopSignal
from rogo_async.common.urls import AllowList
from rogo_async.destination.blobs.store import Store
from rogo_async.pipeline.file_copier import ByteBudget, FileCopier
from rogo_async.rules.identity import identify
from rogo_async.rules.records import FileKind, FileRef
from rogo_async.sources.http_files import Sources
from tests.support.raw_server import Peer, RawServer, Script, raw_server

DEADLINE_S = 5.0
WHO = identify(7, "20260131T011500Z-0123abcd", "lms")


def breaker_for(probe: Probe, host: str) -> CircuitBreaker:
    return CircuitBreaker(Dependency.SOURCE, probe, StopSignal(), CallStats(), 60.0, host=host)


@contextlib.asynccontextmanager
async def copying(server: RawServer) -> AsyncIterator[FileCopier]:
    """A file copier from this server to nowhere."""
    async with contextlib.aclosing(HttpSession()) as http:
        sources = Sources(http, AllowList(frozenset({server.origin})), {}, breaker_for)
        yield FileCopier(sources, cast("Store", None), ByteBudget(), {})


def refs(server: RawServer, count: int) -> list[FileRef]:
    base = f"http://{server.origin[1]}:{server.origin[2]}"
    return [
        FileRef(FileKind.SUBMISSION, n, f"{n}.txt", "txt", "text/plain", URL(f"{base}/{n}"))
        for n in range(1, count + 1)
    ]


def by_path(**words: bytes) -> Script:
    """Answers the file of a number with these words, any other with silence."""

    async def script(peer: Peer) -> None:
        while True:
            number = (await peer.request()).split()[1].decode().strip("/")
            if f"f{number}" in words:
                await peer.send(words[f"f{number}"])

    return script


def file_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("file-")]


async def asked(server: RawServer, count: int) -> None:
    while len(server.requests) < count:
        await asyncio.sleep(0.001)


async def cancelled(whole: asyncio.Task[Any]) -> None:
    """Cancels it, after which nothing of it is left."""
    whole.cancel()
    await asyncio.wait({whole}, timeout=DEADLINE_S / 2)
    assert whole.cancelled()
    assert file_tasks() == []


async def test_who_cancels_a_submission_cancels_all_its_files() -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        raw_server(by_path()) as server,
        copying(server) as file_copier,
    ):
        whole = asyncio.create_task(file_copier.copy(refs(server, 3), WHO), name="move")
        await asked(server, 3)
        await cancelled(whole)


async def test_a_file_that_fails_waits_for_the_others() -> None:
    """So that nothing of a submission is under way when its row has an outcome."""
    missing = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
    async with (
        asyncio.timeout(DEADLINE_S),
        raw_server(by_path(f1=missing)) as server,
        copying(server) as file_copier,
    ):
        whole = asyncio.create_task(file_copier.copy(refs(server, 2), WHO), name="move")
        await asked(server, 2)
        await asyncio.sleep(0.05)
        assert not whole.done()
        assert len(file_tasks()) == 1
        await cancelled(whole)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"f1": b"404 No", "f2": b"410 No"}, FailureCode.SOURCE_FILE_MISSING),
        ({"f1": b"410 No", "f2": b"404 No"}, FailureCode.SOURCE_REFUSED),
    ],
)
async def test_the_first_faulty_file_decides(words: dict[str, bytes], code: FailureCode) -> None:
    said = {
        name: b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % word for name, word in words.items()
    }
    async with (
        asyncio.timeout(DEADLINE_S),
        raw_server(by_path(**said)) as server,
        copying(server) as file_copier,
    ):
        with pytest.raises(RowError) as found:
            await file_copier.copy(refs(server, 2), WHO)
        assert found.value.code is code
