"""Which addresses may carry failed rows, and what a scheduler shows (specification §7)."""

import asyncio
import contextlib
import socket

import aiohttp
import pytest
from distributed import Client, LocalCluster

from rogo_async.common.errors import SetupError
from rogo_async.distributed import cluster
from rogo_async.distributed.cluster import local_cluster, workers_of
from rogo_async.distributed.facts import is_private


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tls://10.0.0.5:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://127.0.1.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://10.0.0.5:8786", False),
        ("tcp://localhost:8786", False),
        ("ws://10.0.0.5:8786", False),
    ],
)
def test_results_pass_through_private_addresses_only(address: str, *, expected: bool) -> None:
    assert is_private(address) is expected


async def test_a_scheduler_that_does_not_answer_ends_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(**_: object) -> None:
        await asyncio.sleep(60.0)

    monkeypatch.setattr(cluster, "_CONNECT_S", 0.05)
    async with (
        LocalCluster(
            n_workers=0, processes=False, asynchronous=True, dashboard_address=":0"
        ) as dask,
        Client(dask, asynchronous=True, set_as_default=False) as client,
    ):
        assert await workers_of(client) == {}
        dask.scheduler.handlers["identity"] = hang
        with pytest.raises(SetupError, match=r"has not answered within 0\.05 s\. Look at it"):
            await workers_of(client)


async def test_the_processes_of_this_machine_show_nothing_over_http() -> None:
    """Not even if another program has the port that Dask would take: a warning would be raised."""
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # it is in use already
            other.bind(("127.0.0.1", 8787))
            other.listen()
        async with local_cluster(1) as client, aiohttp.ClientSession() as session:
            scheduler = client.cluster.scheduler
            process = next(iter(scheduler.workers.values()))
            for port in (scheduler.http_server.port, process.services["dashboard"]):
                for page in ("info/main/workers.html", "json/counts.json", "metrics"):
                    async with session.get(f"http://127.0.0.1:{port}/{page}") as answer:
                        assert answer.status == 404, page
