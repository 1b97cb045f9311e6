"""A process that cancels a query while its driver still waits for the answer, then exits.

It exits like any Python program, so a thread that blocks the exit blocks it here too.
"""

import asyncio
import sys

from rogo_async.sources.warehouse.pool import Deadlines
from tests.support.sql_server import opened


async def main(text: str) -> None:
    """Open the warehouse, cancel a query, close the warehouse."""
    deadlines = Deadlines(connect_s=3, query_s=60, close_s=0.5)
    async with opened(text, deadlines=deadlines) as warehouse:
        looking = asyncio.create_task(warehouse.look_up([1]))
        await asyncio.sleep(0.5)
        looking.cancel()
        await asyncio.wait({looking})
    print("gave up", flush=True)  # noqa: T201 - for the test to read


asyncio.run(main(sys.argv[1]))
