"""Enforcement rows that name a submission which is taken out again (SPEC §5)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from rogo_async.destination.postgres.change_detection import (
    Change,
    Claim,
    Content,
    Delete,
    History,
    LeftAlone,
    PutBack,
    Rebuild,
    Rule,
    change_of,
    versions,
)
from rogo_async.destination.postgres.connections import Session
from rogo_async.destination.postgres.queries import query
from rogo_async.rules.identity import attempt_of_launch_id, launch_id
from rogo_async.rules.records import MalpracticeLevel

_SCAN_S: Final = 600.0


class Memory(History, Protocol):
    """What the journals know, and a place to keep more (``journal.Journals``)."""

    async def put_back(self, attempt: int, row: Content) -> None:
        """Keep durably that a rollback of ``attempt`` makes a row what it was."""

    async def rebuilt(self, attempt: int, row: Content, before: Content | None) -> None:
        """The same of a row that is made anew; ``before`` is what is under its claim."""


class Enforcements:
    """Lets enforcement rows go from submissions that are taken out."""

    def __init__(self, memory: Memory, instance_id: str, applied_by: str) -> None:
        self._memory = memory
        self._instance_id = instance_id
        self._applied_by = applied_by

    async def changes(
        self, session: Session, values: Mapping[str, object], written_by: str
    ) -> list[tuple[Rule, Change]]:
        """What becomes of each row that names a submission when that goes.

        ``written_by`` is the transaction that wrote the submission. Raises LeftAlone.
        """
        rules = [_rule(row) for row in await session.rows("rules_of_key", values, _SCAN_S)]
        changes = []
        for rule in rules:
            if rule.submission_id != values["submission_id"]:
                continue
            if rule.written_by != written_by and not self._memory.is_put_back(rule.content):
                raise LeftAlone("malpractice_enforcements: the row was changed")
            others = [each for each in rules if each is not rule]
            changes.append((rule, await self._change(session, values, rule, others)))
        return changes

    async def apply(self, session: Session, attempt: int, rule: Rule, change: Change) -> None:
        """Change a row of ``attempt``; what it becomes is kept, so that it is known again later.

        Raises DataDirFull.
        """
        place = {"enforcement_id": rule.id}
        match change:
            case Delete():
                await _execute(session, "delete_rule", place)
            case PutBack(content):
                statement = (await session.row("putting_back", {}))["statement"]
                await session.raw.execute(statement, rule.id, orjson.dumps(content).decode())
                await self._memory.put_back(attempt, await _content(session, place))
            case Rebuild(claim, max_attempts, before):
                written = {
                    "context_title": claim.context_title,
                    "malpractice_level_id": claim.level.id,
                    "submission_id": claim.submission_id,
                    "attempt_number": claim.attempt_number,
                    "max_attempts": max_attempts,
                    "applied_by": self._applied_by,
                }
                await _execute(session, "update_enforcement", {**place, **written})
                await self._memory.rebuilt(attempt, await _content(session, place), before)

    async def _change(
        self, session: Session, values: Mapping[str, object], rule: Rule, others: Sequence[Rule]
    ) -> Change:
        claims = [
            _claim(row)
            for row in await session.rows("claims_of_key", values, _SCAN_S)
            if self._is_ours(row["launch_id"])
        ]
        gone = values["submission_id"]
        kept = versions(self._memory, rule.id, str(gone))
        named = {content["submission_id"] for content in kept} - {gone, None}
        standing = await session.rows("launch_ids", {"ids": sorted(named)})
        launch_ids = {row["id"]: row["launch_id"] for row in standing}
        return change_of(rule, others, claims, launch_ids, self._memory)

    def _is_ours(self, launched: str) -> bool:
        attempt = attempt_of_launch_id(launched)
        return attempt is not None and launched == launch_id(attempt, self._instance_id)


def _rule(row: Any) -> Rule:
    return Rule(
        id=row["id"],
        submission_id=row["submission_id"],
        launch_id=row["launch_id"],
        written_by=row["written_by"],
        content=orjson.loads(row["content"]),
    )


def _claim(row: Any) -> Claim:
    return Claim(
        submission_id=row["id"],
        launch_id=row["launch_id"],
        attempt_number=row["attempt_number"],
        context_title=row["context_title"],
        level=MalpracticeLevel(row["level_id"], row["level_text"] or ""),
        notes=row["notes"],
    )


async def _content(session: Session, place: Mapping[str, object]) -> Content:
    row = await session.row("content_of_rule", place)
    content: Content = orjson.loads(row["content"])
    return content


async def _execute(session: Session, name: str, values: Mapping[str, object]) -> None:
    statement = query(name)
    await session.raw.execute(statement.sql, *statement.arguments(values))
