"""The proxy's switches do what they say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.tcp_proxy import Hook, TcpProxy


@pytest.fixture
async def echo() -> AsyncIterator[TcpProxy]:
    """A proxy to a server that answers every line with itself."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, TcpProxy(*server.sockets[0].getsockname()) as proxy:
        yield proxy


class Caller:
    """A client of the echo server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, proxy: TcpProxy) -> "Caller":
        return cls(*await asyncio.open_connection(proxy.host, proxy.port))

    async def ask(self, line: bytes, timeout_s: float = 60.0) -> bytes:
        self.writer.write(line)
        return await asyncio.wait_for(self.reader.readline(), timeout_s)

    async def close(self) -> None:
        self.writer.close()


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await work()
    return loop.time() - began


async def test_the_proxy_passes_on_and_counts(echo: TcpProxy) -> None:
    caller = await Caller.of(echo)
    assert await caller.ask(b"hello\n") == b"hello\n"
    large = b"x" * 60_000 + b"\n"
    for _ in range(20):
        assert await caller.ask(large) == large
    assert (echo.accepted, echo.open) == (1, 1)
    caller.writer.write_eof()
    assert await caller.reader.read() == b""
    await caller.close()
    while echo.open:
        await asyncio.sleep(0.01)
    assert echo.accepted == 1


async def test_the_proxy_delays_each_way_without_limiting_the_rate(echo: TcpProxy) -> None:
    caller = await Caller.of(echo)
    await caller.ask(b"open\n")
    echo.delay_s = 0.1
    assert await seconds(lambda: caller.ask(b"hello\n")) >= 0.2

    async def many() -> None:
        for number in range(50):
            caller.writer.write(b"%d\n" % number)
            await asyncio.sleep(0.001)
        assert [await caller.reader.readline() for _ in range(50)] == [
            b"%d\n" % number for number in range(50)
        ]

    assert await seconds(many) < 50 * 2 * echo.delay_s
    await caller.close()


async def test_a_shorter_delay_applies_to_what_is_in_transit(echo: TcpProxy) -> None:
    first = await Caller.of(echo)
    await first.ask(b"open\n")
    before = echo.in_transit
    echo.delay_s = 3600.0
    asked = asyncio.create_task(first.ask(b"1\n"))
    second = await Caller.of(echo)
    opened = asyncio.create_task(second.ask(b"2\n"))
    while echo.accepted < 2 or not echo.in_transit:
        await asyncio.sleep(0.001)
    echo.delay_s = 0.0
    assert (await asked, await opened) == (b"1\n", b"2\n")
    assert not before
    await first.close()
    await second.close()


async def test_the_proxy_cuts_and_resets(echo: TcpProxy) -> None:
    caller = await Caller.of(echo)
    await caller.ask(b"open\n")
    echo.cut()
    assert await caller.reader.read() == b""
    await caller.close()
    caller = await Caller.of(echo)
    await caller.ask(b"open\n")
    echo.reset()
    with pytest.raises(ConnectionResetError):
        await caller.reader.read()
    await caller.close()
    caller = await Caller.of(echo)
    assert await caller.ask(b"again\n") == b"again\n"
    await caller.close()


async def test_the_proxy_swallows(echo: TcpProxy) -> None:
    before = await Caller.of(echo)
    await before.ask(b"open\n")
    echo.black_hole = True
    during = await Caller.of(echo)
    for caller in (before, during):
        with pytest.raises(TimeoutError):
            await caller.ask(b"hello\n", timeout_s=0.1)
    await during.close()
    await asyncio.sleep(0.05)
    assert echo.open == 2
    echo.black_hole = False
    with pytest.raises(TimeoutError):
        await before.ask(b"hello\n", timeout_s=0.1)
    assert echo.open == 1
    await before.close()
    after = await Caller.of(echo)
    assert await after.ask(b"hello\n") == b"hello\n"
    assert echo.open == 1
    await after.close()


async def test_the_proxy_refuses(echo: TcpProxy) -> None:
    caller = await Caller.of(echo)
    await caller.ask(b"open\n")
    echo.refuse = True
    with pytest.raises(ConnectionRefusedError):
        await Caller.of(echo)
    assert await caller.ask(b"still here\n") == b"still here\n"
    await caller.close()
    echo.refuse = False
    caller = await Caller.of(echo)
    assert await caller.ask(b"back\n") == b"back\n"
    await caller.close()


async def test_the_proxy_drops_a_reply(stack: Stack, workspace: Workspace) -> None:
    """The reply to COMMIT is lost, and the transaction is committed."""
    async with TcpProxy(stack.postgres.host, stack.postgres.port) as proxy:
        dsn = stack.postgres.dsn(workspace.target)
        connection = await asyncpg.connect(
            dsn.replace(f":{stack.postgres.port}/", f":{proxy.port}/")
        )

        def lose_commit(reply: bytes) -> bytes | None:
            if b"COMMIT" not in reply:
                return reply
            proxy.cut()
            return None

        proxy.on_reply = lose_commit
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            async with connection.transaction():
                await connection.execute("INSERT INTO users (role) VALUES ('admin')")
        connection = await asyncpg.connect(dsn)
        assert len(await connection.fetch("SELECT * FROM users")) == 1
        await connection.close()


def forgetful(then: Callable[[], None]) -> tuple[Hook, Hook]:
    """Hooks that drop the answers to lines with a certain word and then call a function."""
    asked: list[bytes] = []

    def request(chunk: bytes) -> bytes:
        asked.append(chunk)
        return chunk

    def reply(chunk: bytes) -> bytes | None:
        if b"forget" not in asked[-1]:
            return chunk
        then()
        return None

    return request, reply


async def test_a_tap_sees_both_ways_of_its_own_connection(echo: TcpProxy) -> None:
    echo.tap = lambda wire: forgetful(wire.cut)
    one, other = await Caller.of(echo), await Caller.of(echo)
    assert await one.ask(b"hello\n") == b"hello\n"
    assert await other.ask(b"hello\n") == b"hello\n"
    assert await one.ask(b"forget me\n") == b""
    assert await other.ask(b"still here\n") == b"still here\n"
    await one.close()
    echo.tap = lambda wire: forgetful(wire.silence)
    one = await Caller.of(echo)
    for line in (b"forget me\n", b"hello\n"):
        with pytest.raises(TimeoutError):
            await one.ask(line, timeout_s=0.1)
    assert await other.ask(b"still here\n") == b"still here\n"
    await one.close()
    await other.close()
