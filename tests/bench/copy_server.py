"""The proxies of the bench ``copy`` in a process of their own: ``-m tests.bench.copy_server``.

Prints its two ports, one with the service and one without. Then it answers each line with the
bytes that clients have sent and received since the last one.
"""

import asyncio
import json
import sys
from dataclasses import asdict

from rogo_async.demo.servers.ports import LOOPBACK
from tests.support.byte_counter import ByteCounter
from tests.support.copy_proxy import CopyProxy
from tests.support.store_proxy import running_proxy
from tests.support.tcp_proxy import TcpProxy


async def _serve(endpoint: str, port: int, account: str, key: str) -> None:
    async with (
        running_proxy(endpoint, CopyProxy) as service,
        TcpProxy(LOOPBACK, service.port) as copying,
        TcpProxy(LOOPBACK, port) as plain,
    ):
        service.account, service.account_key = account, key
        _print({"copying": copying.port, "plain": plain.port})
        while True:
            counter = ByteCounter()
            counter.watch(copying)
            counter.watch(plain)
            if not await asyncio.to_thread(sys.stdin.readline):
                return
            _print(asdict(counter))


def _print(facts: dict[str, int]) -> None:
    sys.stdout.write(f"{json.dumps(facts)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
