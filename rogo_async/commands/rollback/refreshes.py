"""Puts back what a run refreshed, one submission after another (specification §5, rollback)."""

from collections.abc import Callable, Iterable

import structlog

from rogo_async.commands.rollback.counts import RevertCounts
from rogo_async.common.errors import DataDirFull, DependencyError
from rogo_async.common.files import AppendFile
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.destination.postgres.refresh_rollback import Refresh, Refreshes, RefreshReverter
from rogo_async.destination.postgres.rollback import RemovalResult
from rogo_async.destination.postgres.rule_restoration import RemovalSkipped
from rogo_async.reporting.progress import Stages

_LINES = 200
_Keep = Callable[[Refresh, str], list[tuple[object, ...]]]
log = structlog.get_logger()


class RefreshRollback:
    """The refreshes of one rollback. What the first pass keeps gets a second one.

    A submission that the run migrated may have taken over a rule after the refresh of another one.
    The former rule can be put back only when that submission has been deleted.
    """

    def __init__(
        self,
        refreshes: Refreshes,
        counts: RevertCounts,
        reverter: RefreshReverter,
        stages: Stages,
        stop_signal: StopSignal,
        say: Callable[[str], object],
    ) -> None:
        self._refreshes = refreshes
        self._counts = counts
        self._reverter = reverter
        self._stages = stages
        self._stop_signal = stop_signal
        self._say = say
        self._left: set[int] = set()

    async def revert(self, report: AppendFile) -> None:
        """Put the former values of each submission back. Raises RunStopped."""
        if len(self._refreshes):
            await self._reverter.prepare()
            await self._pass(self._refreshes, report, self._leave)

    async def revert_again(self, report: AppendFile) -> None:
        """Try those again that were kept, after the deletions of the run. Raises RunStopped."""
        if self._left:
            left = (refresh for refresh in self._refreshes if refresh.attempt in self._left)
            await self._pass(left, report, self._keep)

    async def _pass(self, refreshes: Iterable[Refresh], report: AppendFile, keep: _Keep) -> None:
        counts = self._counts
        async with self._stages.stage(
            "putting former values back",
            "submissions",
            len(self._refreshes),
            count=lambda: counts.done,
        ):
            lines: list[tuple[object, ...]] = []
            try:
                for refresh in refreshes:
                    self._stop_signal.raise_if_stopping()
                    lines += await self._revert(refresh, keep)
                    if len(lines) >= _LINES:
                        await report.append(lines)
                        lines = []
            finally:
                await report.append(lines)

    async def _revert(self, refresh: Refresh, keep: _Keep) -> list[tuple[object, ...]]:
        """The line of the submission, if its outcome is known."""
        ids = refresh.attempt, refresh.launch_id, refresh.submission
        try:
            result = await self._reverter.revert(refresh)
        except RemovalSkipped as reason:
            return keep(refresh, str(reason))
        except DataDirFull as full:
            self._stop_signal.stop(StopReason.DISK, str(full))
            return [(*ids, "unknown", "the disk is full", "")]
        except DependencyError as error:
            self._stop_signal.unresolved += 1
            log.error("outcome unknown", attempt=refresh.attempt, reason=str(error))
            return [(*ids, "unknown", str(error), "")]
        if result is RemovalResult.ALREADY_GONE:
            self._counts.unchanged += 1
            return [(*ids, "unchanged", "", "")]
        self._counts.reverted += 1
        return [(*ids, "put_back", "", "")]

    def _leave(self, refresh: Refresh, _reason: str) -> list[tuple[object, ...]]:
        self._left.add(refresh.attempt)
        return []

    def _keep(self, refresh: Refresh, reason: str) -> list[tuple[object, ...]]:
        self._counts.kept += 1
        self._say(f"attempt {refresh.attempt}  kept: {reason}")
        return [(refresh.attempt, refresh.launch_id, refresh.submission, "left_alone", reason, "")]
