"""Fixtures of the tests of rollback: a picture of all rows and blobs, and both commands.

The commands run in the process of the test, which saves the start of an interpreter for each of
many runs and rollbacks. Tests of the command line run them as processes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from rogo_async.commands.rollback.flow import Rollback
from rogo_async.commands.rollback.selection import OfAttempts, OfRun
from rogo_async.common.settings import Settings, load_settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection
from tests.support.builders import Scenario, SourceSubmission

Blob = tuple[str, bytes, Mapping[str, str], str | None, bytes]


@dataclass(frozen=True, slots=True)
class Picture:
    """All rows of the target, and all blobs with their properties."""

    tables: dict[str, list[dict[str, Any]]]
    blobs: list[Blob]

    def of(self, attempt: int) -> list[Any]:
        """The rows and blobs of an attempt: rows that name it or its submission, and its blobs."""
        mark = f"rogo_{attempt}_"
        rows = [(name, row) for name, found in self.tables.items() for row in found]
        ids = {
            str(row["id"])
            for name, row in rows
            if name == "assignment_submissions" and mark in row["lti_launch_id"]
        }
        theirs = [
            (name, row)
            for name, row in rows
            if mark in str(row) or any(each in str(row) for each in ids)
        ]
        return [theirs, [blob for blob in self.blobs if f"/rogo_{attempt}/" in blob[0]]]


async def picture(scenario: Scenario) -> Picture:
    """The current rows and blobs."""
    tables = {}
    async with scenario.target() as target:
        names = await target.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        for (name,) in names:
            rows = [dict(row) for row in await target.fetch(f'TABLE "{name}"')]
            tables[name] = sorted(rows, key=str)
    blobs = []
    async with scenario.container() as container:
        async for item in container.list_blobs(include=["metadata"]):
            body = await (await container.download_blob(item.name)).readall()
            settings = item.content_settings
            md5 = bytes(settings.content_md5 or b"")
            blobs.append((item.name, body, item.metadata, settings.content_type, md5))
    return Picture(tables, sorted(blobs, key=lambda blob: blob[0]))


def settings_of(env: Mapping[str, str], **others: object) -> Settings:
    return load_settings(**{name.lower(): value for name, value in env.items()}, **others)


async def migrate(env: Mapping[str, str], *attempts: int) -> str:
    """Migrate these attempts; all must succeed. Returns the run's id."""
    run = Run(settings_of(env), Selection(attempts=attempts), None)
    try:
        ending = await run.execute()
    finally:
        structlog.contextvars.clear_contextvars()
    assert ending.exit_code is ExitCode.DONE, ending
    return run._record.run_id


@dataclass(slots=True)
class Ended:
    """A finished rollback, with the lines that it printed."""

    code: int = -1
    summary_line: str = ""
    messages: list[str] = field(default_factory=list)


async def roll_back(env: Mapping[str, str], what: str | Sequence[int], **others: object) -> Ended:
    """Roll back a run or attempts without a question."""
    ended = Ended()
    selection = OfRun(what) if isinstance(what, str) else OfAttempts(frozenset(what))

    async def agree(_question: str) -> bool:
        await asyncio.sleep(0)
        return True

    rollback = Rollback(settings_of(env, **others), selection, None, ended.messages.append, agree)
    ending = await rollback.execute()
    ended.code, ended.summary_line = ending.exit_code, ending.summary_line
    return ended


def malpractice(
    scenario: Scenario, attempt: int, number: int, level: str = "Severe", learner: int = 1
) -> SourceSubmission:
    """A submission with malpractice, for the malpractice rule of one learner and assessment."""
    made = scenario.submission(attempt, Grade=f"Malpractice {level}", TIUserId=str(learner))
    made.submission = f"Attempt {number}"
    return made
