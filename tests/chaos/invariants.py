"""Checks the invariants after any failure, without code of the product (specification §6).

The expected state comes from the input of the run, the findings from the target, the container and
the data directory.
"""

import asyncio
import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
import asyncpg

from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.writers import SUBMISSION_COLUMNS
from rogo_async.demo.servers.blob_container import REQUEST_TIMEOUT_S, Container, run_concurrently
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.records import Status
from tests.support.cli import FAILED, MIGRATED, summary

Key = tuple[str, str, str]
"""Of an enforcement row: lms_user_id, custom_assessment_code, context_id."""

_ATTEMPT_ID: Final = SUBMISSION_COLUMNS.index("Attempt ID")
_LAUNCH: Final = re.compile(r"rogo_0*(\d+)_")
_RECORDS: Final = {
    "submission": "SELECT lti_launch_id FROM assignment_submissions",
    "launch session": "SELECT launch_id FROM lti_launch_sessions",
    "session record": "SELECT launch_id FROM lti_session_records",
    "grade": "SELECT s.lti_launch_id FROM submission_grades g "
    "JOIN assignment_submissions s ON s.id = g.submission_id",
    "marking assignment": "SELECT s.lti_launch_id FROM submission_marking_assignments m "
    "JOIN assignment_submissions s ON s.id = m.submission_id",
}
"""What every migrated submission has exactly one of, by its launch id."""
_FILES: Final = (
    "SELECT s.lti_launch_id, f.upload_order, f.azure_blob_name FROM submission_files f "
    "JOIN assignment_submissions s ON s.id = f.submission_id ORDER BY 1, 2"
)
_ENFORCEMENTS: Final = (
    "SELECT e.lms_user_id, e.custom_assessment_code, e.context_id, s.lti_launch_id "
    "FROM malpractice_enforcements e LEFT JOIN assignment_submissions s ON s.id = e.submission_id"
)


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """The expected result.

    ``files`` has the MD5 of each file, in order, of each attempt that migrates; ``failed`` the
    Attempt ID as found and the code of each row that fails; ``enforcements`` the attempts that
    the enforcement rows of a key belong to (None: not a migrated one).
    """

    rows: int
    files: Mapping[int, Sequence[bytes]]
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    enforcements: Mapping[Key, Counter[int | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """The expected state of a generated data set."""
        return cls(
            rows=len(dataset.expected),
            files={
                each.attempt: [file.source.md5() for file in each.files()]
                for each in dataset.submissions()
            },
            failed=Counter(
                (row.cells[_ATTEMPT_ID], str(row.code))
                for row in dataset.expected
                if row.status is Status.FAILED
            ),
            enforcements={
                key: Counter(row.attempt for row in rows)
                for key, rows in dataset.expected_malpractice_rules.items()
            },
        )


@dataclass(slots=True)
class Findings:
    """All violations, one line each. ``misjudged`` are wrong reports about correct rows."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    misjudged: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """All of them."""
        kinds = ("lost", "doubled", "dangling", "orphaned", "misjudged")
        return [f"{kind}: {line}" for kind in kinds for line in getattr(self, kind)]

    def add(self, other: "Findings") -> None:
        """Add the findings of another check."""
        for name in ("lost", "doubled", "dangling", "orphaned", "misjudged"):
            getattr(self, name).extend(getattr(other, name))


async def check_invariants(stack: Stack, workspace: Workspace, expected: ExpectedState) -> Findings:
    """Check a workspace after a full run that ended by itself, and a sweep."""
    findings = Findings()
    connection = await asyncpg.connect(stack.postgres.dsn(workspace.target))
    try:
        await _check_records(connection, expected, findings)
        await _check_enforcements(connection, expected, findings)
        files = await connection.fetch(_FILES)
        referred = {
            row["azure_blob_name"]
            for row in await connection.fetch("SELECT azure_blob_name FROM submission_files")
        }
    finally:
        await connection.close()
    await _check_blobs(stack, workspace, expected, files, referred, findings)
    await asyncio.to_thread(_check_data_dir, workspace.data_dir, expected, findings)
    return findings


async def _check_records(
    connection: asyncpg.Connection, expected: ExpectedState, findings: Findings
) -> None:
    for what, sql in _RECORDS.items():
        found = Counter(_attempt(row[0]) for row in await connection.fetch(sql))
        for attempt in expected.files:
            if found[attempt] == 0:
                findings.lost.append(f"attempt {attempt} has no {what}")
        for migrated, count in found.items():
            if migrated is not None and count > 1:
                findings.doubled.append(f"attempt {migrated} has {count} of {what}")


async def _check_enforcements(
    connection: asyncpg.Connection, expected: ExpectedState, findings: Findings
) -> None:
    found: dict[Key, Counter[int | None]] = {}
    for row in await connection.fetch(_ENFORCEMENTS):
        found.setdefault((row[0], row[1], row[2]), Counter())[_attempt(row[3])] += 1
    for key in found.keys() | expected.enforcements.keys():
        is_there, should = found.get(key, Counter()), expected.enforcements.get(key, Counter())
        text = f"enforcement of {key}: {dict(is_there)}, not {dict(should)}"
        if is_there.total() > should.total():
            findings.doubled.append(text)
        elif is_there != should:
            findings.lost.append(text)


async def _check_blobs(
    stack: Stack,
    workspace: Workspace,
    expected: ExpectedState,
    files: Iterable[Any],
    referred: set[str],
    findings: Findings,
) -> None:
    by_attempt: dict[int | None, list[str]] = {}
    for row in files:
        by_attempt.setdefault(_attempt(row["lti_launch_id"]), []).append(row["azure_blob_name"])
    copies: list[tuple[int, str, bytes]] = []
    for attempt, digests in expected.files.items():
        names = by_attempt.get(attempt, [])
        if len(names) < len(digests):
            findings.lost.append(f"attempt {attempt} has {len(names)} of {len(digests)} files")
        if len(names) > len(digests):
            findings.doubled.append(f"attempt {attempt} has {len(names)} files")
        copies += [(attempt, *pair) for pair in zip(names, digests, strict=False)]
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        container = Container(stack.azurite, workspace.container, session)
        stored = await container.listing()

        async def compare(file: tuple[int, str, bytes]) -> None:
            attempt, name, md5 = file
            if name not in stored:
                findings.dangling.append(f"attempt {attempt}: there is no blob {name!r}")
            elif (await container.digest(quote(name)))[1] != md5:
                findings.dangling.append(f"attempt {attempt}: other bytes in {name!r}")

        await run_concurrently(compare, copies)
    findings.orphaned += [name for name in stored if name not in referred]


def _check_data_dir(data_dir: Path, expected: ExpectedState, findings: Findings) -> None:
    listed = Counter(row["Attempt ID"] for row in _rows(data_dir / MIGRATED))
    for attempt in expected.files:
        if listed[str(attempt)] != 1:
            text = f"attempt {attempt} is {listed[str(attempt)]} times in {MIGRATED}"
            (findings.doubled if listed[str(attempt)] else findings.lost).append(text)
    failed = Counter(
        (row["Attempt ID"], row["Error"].partition(": ")[0]) for row in _rows(data_dir / FAILED)
    )
    for each in (expected.failed - failed).elements():
        findings.lost.append(f"{each} is not in {FAILED}")
    for each in (failed - expected.failed).elements():
        findings.misjudged.append(f"{each} is in {FAILED}")
    told = summary(data_dir)
    if told["rows_total"] != expected.rows or told["not_reached"]:
        counted = {name: told[name] for name in ("rows_total", "not_reached")}
        findings.misjudged.append(f"the summary has {counted} of {expected.rows} rows")
    if told["failed"] != expected.failed.total():
        findings.misjudged.append(f"the summary has {told['failed']} failed rows")


def _attempt(launch_id: str | None) -> int | None:
    match = _LAUNCH.match(launch_id or "")
    return int(match[1]) if match else None


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def md5_of(body: bytes) -> bytes:
    """The MD5 of a file's bytes."""
    return hashlib.md5(body, usedforsecurity=False).digest()
