"""Reads and changes the malpractice rules of a submission that ``rollback`` removes.

``rule_restoration`` decides the new content of each rule; this module reads the input of that
decision and applies the result. A run writes its malpractice rules in ``writer``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from rogo_async.destination.postgres.connections import Session
from rogo_async.destination.postgres.journal import Journals, RuleContent
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
    """Deletes, restores or replaces the malpractice rules that name a removed submission."""

    def __init__(self, journals: Journals, instance_id: str, applied_by: str) -> None:
        self._journals = journals
        self._instance_id = instance_id
        self._applied_by = applied_by

    async def changes(
        self, session: Session, values: Mapping[str, object], written_by: str
    ) -> list[tuple[MalpracticeRule, RuleChange]]:
        """Return each rule that names the submission, and its restoration.

        ``written_by`` is the transaction that wrote the submission. Raises RemovalSkipped.
        """
        rows = await session.rows("malpractice_rules_of_key", values, _SCAN_S)
        rules = [_rule(row) for row in rows]
        changes = []
        for rule in rules:
            if rule.submission_id != values["submission_id"]:
                continue
            if rule.written_by != written_by and not self._journals.is_restored(rule.content):
                raise RemovalSkipped("malpractice_enforcements: the row was changed")
            others = [each for each in rules if each is not rule]
            changes.append((rule, await self._change(session, values, rule, others)))
        return changes

    async def apply(
        self, session: Session, attempt: int, rule: MalpracticeRule, change: RuleChange
    ) -> None:
        """Change a rule of ``attempt``, and record its new content in the journal.

        A later rollback then recognizes that content. Raises DataDirFull, and RemovalSkipped if
        the target ignores the change.
        """
        key = {"enforcement_id": rule.id}
        match change:
            case DeleteRule():
                _check_changed(await session.row("delete_malpractice_rule", key))
            case RestoreRule(content):
                statement = (await session.row("restore_statement", {}))["statement"]
                restored = orjson.dumps(content).decode()
                _check_changed(await session.raw.fetchrow(statement, rule.id, restored))
                await self._journals.record_restored(attempt, await _content(session, key))
            case ReplaceRule(candidate, max_attempts, before):
                written = {
                    "context_title": candidate.context_title,
                    "malpractice_level_id": candidate.level.id,
                    "submission_id": candidate.submission_id,
                    "attempt_number": candidate.attempt_number,
                    "max_attempts": max_attempts,
                    "applied_by": self._applied_by,
                }
                _check_changed(await session.row("update_malpractice_rule", {**key, **written}))
                content = await _content(session, key)
                await self._journals.record_replaced(attempt, content, before)

    async def _change(
        self,
        session: Session,
        values: Mapping[str, object],
        rule: MalpracticeRule,
        others: Sequence[MalpracticeRule],
    ) -> RuleChange:
        candidates = [
            _candidate(row)
            for row in await session.rows("rule_candidates_of_key", values, _SCAN_S)
            if self._is_ours(row["launch_id"])
        ]
        removed = values["submission_id"]
        versions = earlier_versions(self._journals, rule.id, str(removed))
        named = {content["submission_id"] for content in versions} - {removed, None}
        remaining = await session.rows("launch_ids", {"ids": sorted(named)})
        claiming = {candidate.submission_id for candidate in candidates}
        launch_ids = {
            row["id"]: row["launch_id"]
            for row in remaining
            if row["id"] in claiming or not self._is_ours(row["launch_id"])
        }
        return decide_change(rule, others, candidates, launch_ids, self._journals)

    def _is_ours(self, launched: str) -> bool:
        attempt = attempt_of_launch_id(launched)
        return attempt is not None and launched == launch_id(attempt, self._instance_id)


def _check_changed(row: Any) -> None:
    """Raise RemovalSkipped if a statement changed no row, as a trigger or a policy may cause."""
    if row is None:
        raise RemovalSkipped(
            "malpractice_enforcements: the target ignored the change of a row. A trigger, rule or "
            "policy prevents it"
        )


def _rule(row: Any) -> MalpracticeRule:
    return MalpracticeRule(
        id=row["id"],
        submission_id=row["submission_id"],
        launch_id=row["launch_id"],
        written_by=row["written_by"],
        content=orjson.loads(row["content"]),
    )


def _candidate(row: Any) -> RuleCandidate:
    return RuleCandidate(
        submission_id=row["id"],
        launch_id=row["launch_id"],
        attempt_number=row["attempt_number"],
        context_title=row["context_title"],
        level=MalpracticeLevel(row["level_id"], row["level_text"] or ""),
        notes=row["notes"],
    )


async def _content(session: Session, key: Mapping[str, object]) -> RuleContent:
    row = await session.row("malpractice_rule_content", key)
    content: RuleContent = orjson.loads(row["content"])
    return content
