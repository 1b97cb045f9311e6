"""``scale``: memory and rate from 1,000 to 1,000,000 rows, and one file of 2 GiB.

All rows beyond 10,000 (with ``--quick`` 1,000) are already migrated, the oldest ones. The other
rows have one small file each: the bench measures the growth with the number of rows.
"""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiohttp import web

from rogo_async.demo.servers.ports import LOOPBACK
from tests.bench import client, dataset
from tests.bench.client import BenchError
from tests.bench.report import Report

LEVELS = (1_000, 10_000, 100_000, 1_000_000)
MIGRATE_AT_MOST = 10_000
SMALL_BYTES = 2_000
BIG_BYTES = 2 * 1024**3
MOST_BYTES_A_ROW = 40
MOST_MB = 150
MOST_BIG_FILE_MB = 200
LEAST_RATE_KEPT = 0.9
_MB = 1_000_000
_BLOCK_BYTES = 1024 * 1024
_SLACK_BYTES = 4 * 1024**3
_STATEMENT_S = 900.0


@dataclass(frozen=True, slots=True)
class Level:
    """Peak memory, rows and migrated submissions per second for one size of input."""

    peak_bytes: int
    rows_per_s: float
    migrated_per_s: float


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Run every size on its own target, then the large file on a store with a disk."""
    del stretch
    new = MIGRATE_AT_MOST // 10 if quick else MIGRATE_AT_MOST
    big_bytes = BIG_BYTES // 8 if quick else BIG_BYTES
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        directory = Path(name)
        if shutil.disk_usage(directory).free < 2 * big_bytes + _SLACK_BYTES:
            raise BenchError(f"there is too little room in {directory.parent}: set TMPDIR")
        async with dataset.start_stack(directory / "stack") as stack:
            data = await dataset.prepare_dataset(stack, new, size_bytes=SMALL_BYTES)
            found = {rows: await _level(data, directory, rows, min(rows, new)) for rows in LEVELS}
        big = await _big_file(directory, big_bytes)
    _fill_report(report, found, big, big_bytes)


async def _level(data: dataset.BenchDataset, directory: Path, rows: int, new: int) -> Level:
    stack = data.stack
    workspace = await data.new_target(f"scale{rows}", directory / f"scale{rows}")
    dsn = stack.postgres.dsn(workspace.target)
    await _stand(dsn, rows - new)
    data.write_inputs(
        workspace.data_dir,
        new,
        stack.source_url(workspace),
        files=1,
        size_bytes=SMALL_BYTES,
        existing=rows - new,
        mapping_lines=dataset.MAPPING_LINES,
    )
    ran = await client.run(stack.environment_of(workspace), workspace.data_dir, None, new)
    if ran.summary["skipped"] != rows - new:
        raise BenchError(f"{ran.summary['skipped']} rows were skipped, not {rows - new}")
    finished = (await dataset.finish_times(dsn))[-new:]
    await stack.remove_workspace(dataset.own_of(workspace))
    shutil.rmtree(workspace.data_dir)
    cut = new // 10
    rate = (new - 2 * cut) / (finished[-cut] - finished[cut])
    return Level(ran.used.peak_bytes, rows / ran.used.wall_s, rate)


async def _stand(dsn: str, rows: int) -> None:
    """Insert submissions into the target as an earlier run would have written them."""
    connection = await asyncpg.connect(dsn, command_timeout=_STATEMENT_S)
    first = dataset.FIRST_EXISTING
    try:
        for statement in (
            (
                "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
                "SELECT 'rogo_' || n || '_x', 'key', '2099-12-31' "
                "FROM generate_series($1::int, $2) n"
            ),
            (
                "INSERT INTO lti_session_records (id, launch_id, session_expiry) "
                "SELECT 'r-' || n, 'rogo_' || n || '_x', '2099-12-31' "
                "FROM generate_series($1::int, $2) n"
            ),
            (
                "INSERT INTO assignment_submissions (lti_session_record_id, lti_launch_id, "
                "lms_user_id, context_id) SELECT 'r-' || n, 'rogo_' || n || '_x', 'u' || n, 'c' "
                "FROM generate_series($1::int, $2) n"
            ),
        ):
            await connection.execute(statement, first, first + rows - 1)
    finally:
        await connection.close()


async def _big_file(directory: Path, size_bytes: int) -> client.Ran:
    """One submission with one large file, from a small server to a store on disk."""
    async with (
        dataset.start_stack(directory / "disk", keep=True) as stack,
        _streaming(size_bytes) as (origin, digest),
    ):
        data = await dataset.prepare_dataset(stack, 1, size_bytes=SMALL_BYTES)
        workspace = await data.new_target("big", directory / "big")
        data.write_inputs(workspace.data_dir, 1, origin, files=1)
        environment = {**stack.environment_of(workspace), "ROGO_SOURCE_HOSTS": origin}
        environment["ROGO_SOURCE_SAS_TOKEN"] = ""
        ran = await client.run(environment, workspace.data_dir, None, 1)
        blobs = await dataset.stored(stack, workspace)
        if blobs != [(size_bytes, digest.digest())]:
            raise BenchError("the large file did not arrive whole")
    return ran


@contextlib.asynccontextmanager
async def _streaming(size_bytes: int) -> AsyncIterator[tuple[str, "hashlib._Hash"]]:
    """A server whose every path is a file of this length, and the digest of what it has sent."""
    digest = hashlib.md5(usedforsecurity=False)
    block = bytearray(hashlib.shake_256(b"a large file").digest(_BLOCK_BYTES))

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = size_bytes
        await response.prepare(request)
        for start in range(0, size_bytes, _BLOCK_BYTES):
            block[:8] = start.to_bytes(8, "big")
            part = bytes(block[: size_bytes - start])
            digest.update(part)
            await response.write(part)
        return response

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}", digest
    finally:
        await runner.cleanup()


def _fill_report(report: Report, found: dict[int, Level], big: client.Ran, big_bytes: int) -> None:
    rows = []
    for count, level in found.items():
        report.add(f"rss_mb.{count}", level.peak_bytes / _MB, 1)
        report.add(f"rows_per_s.{count}", level.rows_per_s, 1)
        report.add(f"migrated_per_s.{count}", level.migrated_per_s, 1)
        megabytes = f"{level.peak_bytes / _MB:.1f}"
        rates = f"{level.rows_per_s:,.0f}", f"{level.migrated_per_s:,.0f}"
        rows.append((f"{count:,} rows", megabytes, *rates))
    report.table(("", "peak MB", "rows/s", "migrated/s"), rows)
    most, base = max(found), MIGRATE_AT_MOST
    grown = (found[most].peak_bytes - found[base].peak_bytes) / (most - base)
    report.add("bytes_per_row", grown, 1)
    kept = min(found[n].migrated_per_s for n in found if n >= base) / found[base].migrated_per_s
    report.add("rate_kept", kept)
    report.add("bigfile_bytes", big_bytes, 0)
    report.add("bigfile_rss_mb", big.used.peak_bytes / _MB, 1)
    report.add("bigfile_mb_per_s", big_bytes / _MB / big.used.wall_s, 1)
    report.add_line(
        f"one file of {big_bytes / 1024**3:.2f} GiB: {report.numbers['bigfile_rss_mb']:g} MB, "
        f"{report.numbers['bigfile_mb_per_s']:g} MB/s, length and MD5 right"
    )
    report.add_line("one run of each size; memory is VmHWM of the process, read every 50 ms")
    report.target("bytes_per_row", MOST_BYTES_A_ROW, most=True)
    report.target(f"rss_mb.{most}", MOST_MB, most=True)
    report.target("rate_kept", LEAST_RATE_KEPT)
    report.target("bigfile_rss_mb", MOST_BIG_FILE_MB, most=True)
