"""Writes a test submission and a malpractice rule as a run does, and rolls them back."""

from rogo_async.commands.check.probe import QueryRunner
from rogo_async.commands.check.results import Check, CheckResult, SkipCheck, fail, ok
from rogo_async.common.settings import Settings
from rogo_async.destination.postgres.reference_data import applied_by
from rogo_async.destination.postgres.trial_insert import TrialInsert


class TrialInsertChecks:
    """The checks that write."""

    def __init__(self, queries: QueryRunner, settings: Settings) -> None:
        self._queries = queries
        self._settings = settings

    def checks(self) -> list[Check]:
        """A submission, then one with malpractice."""
        needs = (
            *("target.tables", "target.columns", "target.keys", "target.rights"),
            *("target.pooler", "target.primary", "target.reference"),
            *("settings.ROGO_INSTANCE_ID", "settings.ROGO_CONSUMER_KEY"),
            *("settings.ROGO_CONSUMER_NAME", "settings.ROGO_RETURN_URL_BASE"),
            "settings.ROGO_CONTAINER",
        )
        needs_for_rule = (*needs, "target.user", "target.insert")
        return [
            Check("target.insert", self._submission, needs),
            Check("target.enforcement", self._malpractice_rule, needs_for_rule),
        ]

    async def _submission(self) -> CheckResult:
        failure = await self._rejection(None)
        return failure or ok("test submission written and rolled back")

    async def _malpractice_rule(self) -> CheckResult:
        if not await self._queries.rows("levels"):
            raise SkipCheck("target.reference")
        async with self._queries.connections.session("user") as session:
            user = await applied_by(session, self._settings.rogo_migration_user_id)
        failure = await self._rejection(user)
        return failure or ok("test malpractice rule written and rolled back")

    async def _rejection(self, user: str | None) -> CheckResult | None:
        """The failed result, or None when the target accepts all statements."""
        trial = TrialInsert(
            self._queries.connections, self._settings.lms, self._settings.rogo_container
        )
        rejection = await trial.rejection(user)
        return None if rejection is None else fail(rejection.text, rejection.remedy)
