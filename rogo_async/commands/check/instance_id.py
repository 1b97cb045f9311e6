"""Compares ROGO_INSTANCE_ID with the ids in the target (specification §4)."""

from rogo_async.commands.check.probe import QUERY_TIMEOUT_S, QueryRunner
from rogo_async.commands.check.results import Check, CheckResult, fail, ok, split_remedy, warning
from rogo_async.common.settings import Settings
from rogo_async.common.text import plural
from rogo_async.destination.postgres.instance_ids import CONFIRM, read_instance_ids


class InstanceIdChecks:
    """The check of the instance id."""

    def __init__(self, queries: QueryRunner, settings: Settings) -> None:
        self._queries = queries
        self._own_id = settings.rogo_instance_id

    def checks(self) -> list[Check]:
        """The one check, which reads the target."""
        needs = ("target.columns", "target.rights", "settings.ROGO_INSTANCE_ID")
        return [Check("target.instance", self._compare, needs)]

    async def _compare(self) -> CheckResult:
        ids = await read_instance_ids(self._queries.connections, self._own_id, QUERY_TIMEOUT_S)
        if ids.problem is not None:
            return fail(*split_remedy(f"ROGO_INSTANCE_ID: {ids.problem}"))
        if ids.is_first:
            return warning(ids.first_use, CONFIRM)
        others = f", {ids.others:,} with others" if ids.others else ""
        return ok(f"{plural(ids.own, 'session record')} with this ROGO_INSTANCE_ID{others}")
