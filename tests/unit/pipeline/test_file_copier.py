"""The files of one submission are copied in parallel, within the byte budget."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from yarl import URL

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, FailureCode, RowError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.common.settings import CopyMode
from rogo_async.common.shutdown import StopSignal
from rogo_async.common.urls import AllowList
from rogo_async.destination.blobs.service_copy import ServiceCopy
from rogo_async.destination.blobs.store import Store
from rogo_async.pipeline.file_copier import ByteBudget, FileCopier
from rogo_async.pipeline.server_side_copy import ServerSideCopier
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
    """A file copier from this server, without a destination."""
    async with contextlib.aclosing(HttpSession()) as http:
        sources = Sources(http, AllowList(frozenset({server.origin})), {}, breaker_for)
        server_side = ServerSideCopier(
            sources, cast("ServiceCopy", None), CopyMode.STREAM, URL("https://store.example")
        )
        yield FileCopier(sources, cast("Store", None), server_side, ByteBudget(), {})


def refs(server: RawServer, count: int) -> list[FileRef]:
    base = f"http://{server.origin[1]}:{server.origin[2]}"
    return [
        FileRef(FileKind.SUBMISSION, n, f"{n}.txt", "txt", "text/plain", URL(f"{base}/{n}"))
        for n in range(1, count + 1)
    ]


def by_path(**words: bytes) -> Script:
    """Answers requests for the files in ``words``, and never answers others."""

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
    """Cancel the task, and assert that none of its file tasks remain."""
    whole.cancel()
    await asyncio.wait({whole}, timeout=DEADLINE_S / 2)
    assert whole.cancelled()
    assert file_tasks() == []


async def test_cancelling_a_submission_cancels_all_its_files() -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        raw_server(by_path()) as server,
        copying(server) as file_copier,
    ):
        whole = asyncio.create_task(file_copier.copy(refs(server, 3), WHO), name="move")
        await asked(server, 3)
        await cancelled(whole)


async def test_a_file_that_fails_waits_for_the_others() -> None:
    """No work for a submission is in progress when its row has an outcome."""
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
async def test_the_first_failing_file_decides_the_code(
    words: dict[str, bytes], code: FailureCode
) -> None:
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


async def test_the_limit_is_never_exceeded_and_every_taker_is_served() -> None:
    budget, limit = ByteBudget(100), 100
    out = highest = turns = 0

    async def taker(size_bytes: int) -> None:
        nonlocal out, highest, turns
        async with budget.reserve(size_bytes):
            out += size_bytes
            highest = max(highest, out)
            await asyncio.sleep(0)
            out -= size_bytes
            turns += 1

    sizes = [random.Random(7).randint(0, 100) for _ in range(300)]
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(taker(size) for size in sizes))
    assert turns == 300
    assert 50 < highest <= limit


async def test_a_large_reservation_is_not_starved() -> None:
    budget = ByteBudget(10)
    order: list[str] = []

    async def taker(name: str, size_bytes: int) -> None:
        async with budget.reserve(size_bytes):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(taker("a", 6), taker("large", 10), taker("b", 4), taker("c", 4))
    assert order[:2] == ["a", "large"]


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_takers_release_all_bytes(seed: int) -> None:
    rng = random.Random(seed)
    budget = ByteBudget(50)

    async def taker() -> None:
        async with budget.reserve(rng.randint(1, 50)):
            await asyncio.sleep(rng.random() * 0.002)

    tasks = [asyncio.create_task(taker(), name="taker") for _ in range(60)]
    for task in tasks:
        if rng.random() < 0.5:
            await asyncio.sleep(0)
            task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*tasks, return_exceptions=True)
        async with budget.reserve(50):
            pass


async def test_a_taker_cancelled_while_bytes_are_released_is_cancelled() -> None:
    budget = ByteBudget(10)

    async def taker() -> None:
        async with budget.reserve(10):
            await asyncio.sleep(DEADLINE_S)

    tasks = [asyncio.create_task(taker(), name="taker") for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
        async with budget.reserve(10):
            pass
