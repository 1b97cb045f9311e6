"""Enforcement rows that name a submission which is taken out again (specification §5)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from rogo_async.destination.postgres.connections import Session
from rogo_async.destination.postgres.journal import Journals, RuleContent
from rogo_async.destination.postgres.queries import query
from rogo_async.destination.postgres.rule_restoration import (
    DeleteRule,
    MalpracticeRule,
    RemovalSkipped,
    ReplaceRule,
    RestoreRule,
    RuleCandidate,
    RuleChange,
    decide_change,
    earlier_versions,
)
from rogo_async.rules.identity import attempt_of_launch_id, launch_id
from rogo_async.rules.records import MalpracticeLevel

_SCAN_S: Final = 600.0


class RuleRestorer:
    """Lets enforcement rows go from submissions that are taken out."""

    def __init__(self, journals: Journals, instance_id: str, applied_by: str) -> None:
        self._journals = journals
        self._instance_id = instance_id
        self._applied_by = applied_by

    async def changes(
        self, session: Session, values: Mapping[str, object], written_by: str
    ) -> list[tuple[MalpracticeRule, RuleChange]]:
        """What becomes of each row that names a submission when that goes.

        ``written_by`` is the transaction that wrote the submission. Raises RemovalSkipped.
        """
        rules = [
            _rule(row) for row in await session.rows("malpractice_rules_of_key", values, _SCAN_S)
        ]
        changes = []
        for rule in rules:
            if rule.submission_id != values["submission_id"]:
                continue
            if rule.written_by != written_by and not self._journals.is_put_back(rule.content):
                raise RemovalSkipped("malpractice_enforcements: the row was changed")
            others = [each for each in rules if each is not rule]
            changes.append((rule, await self._change(session, values, rule, others)))
        return changes

    async def apply(
        self, session: Session, attempt: int, rule: MalpracticeRule, change: RuleChange
    ) -> None:
        """Change a row of ``attempt``; what it becomes is kept, so that it is known again later.

        Raises DataDirFull.
        """
        place = {"enforcement_id": rule.id}
        match change:
            case DeleteRule():
                await _execute(session, "delete_malpractice_rule", place)
            case RestoreRule(content):
                statement = (await session.row("restore_statement", {}))["statement"]
                await session.raw.execute(statement, rule.id, orjson.dumps(content).decode())
                await self._journals.put_back(attempt, await _content(session, place))
            case ReplaceRule(claim, max_attempts, before):
                written = {
                    "context_title": claim.context_title,
                    "malpractice_level_id": claim.level.id,
                    "submission_id": claim.submission_id,
                    "attempt_number": claim.attempt_number,
                    "max_attempts": max_attempts,
                    "applied_by": self._applied_by,
                }
                await _execute(session, "update_malpractice_rule", {**place, **written})
                await self._journals.rebuilt(attempt, await _content(session, place), before)

    async def _change(
        self,
        session: Session,
        values: Mapping[str, object],
        rule: MalpracticeRule,
        others: Sequence[MalpracticeRule],
    ) -> RuleChange:
        claims = [
            _claim(row)
            for row in await session.rows("rule_candidates_of_key", values, _SCAN_S)
            if self._is_ours(row["launch_id"])
        ]
        gone = values["submission_id"]
        kept = earlier_versions(self._journals, rule.id, str(gone))
        named = {content["submission_id"] for content in kept} - {gone, None}
        standing = await session.rows("launch_ids", {"ids": sorted(named)})
        launch_ids = {row["id"]: row["launch_id"] for row in standing}
        return decide_change(rule, others, claims, launch_ids, self._journals)

    def _is_ours(self, launched: str) -> bool:
        attempt = attempt_of_launch_id(launched)
        return attempt is not None and launched == launch_id(attempt, self._instance_id)


def _rule(row: Any) -> MalpracticeRule:
    return MalpracticeRule(
        id=row["id"],
        submission_id=row["submission_id"],
        launch_id=row["launch_id"],
        written_by=row["written_by"],
        content=orjson.loads(row["content"]),
    )


def _claim(row: Any) -> RuleCandidate:
    return RuleCandidate(
        submission_id=row["id"],
        launch_id=row["launch_id"],
        attempt_number=row["attempt_number"],
        context_title=row["context_title"],
        level=MalpracticeLevel(row["level_id"], row["level_text"] or ""),
        notes=row["notes"],
    )


async def _content(session: Session, place: Mapping[str, object]) -> RuleContent:
    row = await session.row("malpractice_rule_content", place)
    content: RuleContent = orjson.loads(row["content"])
    return content


async def _execute(session: Session, name: str, values: Mapping[str, object]) -> None:
    statement = query(name)
    await session.raw.execute(statement.sql, *statement.arguments(values))
