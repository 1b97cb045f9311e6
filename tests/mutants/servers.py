"""One stack for the tests of all mutants: to start servers for each would take seconds.

``python -m tests.mutants.servers FILE`` starts the servers, describes them in FILE, and runs them
until its standard input ends.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import orjson

from rogo_async.demo.servers import stack as stack_module
from rogo_async.demo.servers.azurite import Azurite
from rogo_async.demo.servers.ports import reserve_port
from rogo_async.demo.servers.postgres import EmbeddedPostgres
from rogo_async.demo.servers.scripted_source import ScriptedSource
from rogo_async.demo.servers.stack import Stack


class RunningStack(Stack):
    """A stack whose PostgreSQL and Azurite another process runs; the source is its own."""

    def __init__(self, directory: Path, described: Path) -> None:
        super().__init__(directory)
        self._described = orjson.loads(described.read_bytes())

    async def __aenter__(self) -> Self:
        found = self._described
        self._state = stack_module._StackState(**found["state"], source_port=reserve_port())
        self.postgres = EmbeddedPostgres(self.directory, port=self._state.postgres_port)
        self.postgres.password = found["password"]
        self.azurite = Azurite(self.directory, port=self._state.azurite_port)
        self.azurite.account_name, self.azurite.account_key = found["account"]
        self.source = ScriptedSource(port=self._state.source_port)
        async with AsyncExitStack() as running:
            running.push_async_callback(self.source.stop)
            await self.source.start()
            self._running = running.pop_all()
        return self


async def _serve(file: Path) -> None:
    async with Stack(file.with_suffix("")) as stack:
        state = stack._state
        described = {
            "state": {
                "postgres_port": state.postgres_port,
                "azurite_port": state.azurite_port,
                "writer_password": state.writer_password,
                "reader_password": state.reader_password,
            },
            "password": stack.postgres.password,
            "account": [stack.azurite.account_name, stack.azurite.account_key],
        }
        draft = file.with_suffix(".new")
        draft.write_bytes(orjson.dumps(described))
        draft.replace(file)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
