"""The consumers: every submission ends in one outcome, whatever happens to the others."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from rogo_async.common.errors import (
    DataDirFull,
    Dependency,
    RefusalStreak,
    RunStopped,
    SourceForbidden,
    TransientError,
)
from rogo_async.common.shutdown import ExitCode, StopReason, StopSignal
from rogo_async.pipeline.consumers import ConsumerPool
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.summary import Tally
from rogo_async.rules.records import Outcome, Status, Submission

HOST = "https://files.example:443"
DEADLINE_S = 10.0
NO_ROW = cast("Any", None)


class RecordingWriter(ResultWriter):
    """Keeps the outcomes that it is given."""

    def __init__(self) -> None:
        super().__init__(Tally(), 1.0)
        self.outcomes: list[Outcome] = []

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes

    async def write_batch(self, batch: Sequence[Outcome]) -> None:
        raise AssertionError(batch)


class Run:
    """A consumer pool with a handler of the test's own."""

    def __init__(
        self, handler: Callable[[Submission], Awaitable[Outcome | ForbiddenRow]], consumers: int = 2
    ) -> None:
        self.stop_signal = StopSignal()
        self.results = RecordingWriter()
        self.tripped: list[str] = []
        self.queue: asyncio.Queue[Submission | None] = asyncio.Queue()
        self.pool = ConsumerPool(
            consumers, self.queue, handler, self.tripped.append, self.results, self.stop_signal
        )

    async def of(self, attempts: Sequence[int], grace_s: float = 1.0) -> list[tuple[int, Status]]:
        """Handle these attempts; the attempts and statuses of all outcomes, sorted."""
        for attempt in attempts:
            self.queue.put_nowait(submission(attempt))
        await self.pool.end()
        async with asyncio.timeout(DEADLINE_S):
            await self.pool.run(grace_s)
        return sorted((each.attempt or 0, each.status) for each in self.results.outcomes)


def submission(attempt: int) -> Submission:
    return Submission(NO_ROW, attempt, 1, "24_01")


def migrated(each: Submission) -> Outcome:
    return Outcome(each.row, Status.MIGRATED, each.attempt)


async def nothing_to_delete() -> None:
    return


async def test_every_submission_is_handled_once_and_counted() -> None:
    async def handler(each: Submission) -> Outcome:
        await asyncio.sleep(0)
        return migrated(each)

    run = Run(handler, consumers=3)
    assert await run.of(range(1, 21)) == [(n, Status.MIGRATED) for n in range(1, 21)]
    assert sum(figures.processed for figures in run.pool.figures) == 20
    assert sum(figures.migrated for figures in run.pool.figures) == 20
    assert run.stop_signal.exit_code(0) is ExitCode.DONE


async def test_an_unexpected_exception_loses_its_own_row_only() -> None:
    async def handler(each: Submission) -> Outcome:
        if each.attempt == 2:
            raise KeyError(each.attempt)
        return migrated(each)

    run = Run(handler)
    assert await run.of([1, 2, 3]) == [(1, Status.MIGRATED), (3, Status.MIGRATED)]
    assert run.stop_signal.exit_code(0) is ExitCode.INTERNAL
    assert not run.stop_signal.stopping


async def test_an_unknown_outcome_is_counted_and_ends_in_exit_code_3() -> None:
    async def handler(each: Submission) -> Outcome:
        if each.attempt == 2:
            raise TransientError(Dependency.TARGET, "insert", "no answer in time")
        return migrated(each)

    run = Run(handler)
    assert await run.of([1, 2, 3]) == [(1, Status.MIGRATED), (3, Status.MIGRATED)]
    assert run.stop_signal.unresolved == 1
    assert run.stop_signal.exit_code(0) is ExitCode.STOPPED_EARLY


async def test_a_full_data_directory_stops_the_run() -> None:
    async def handler(each: Submission) -> Outcome:
        raise DataDirFull("journal: No space left on device")

    run = Run(handler, consumers=1)
    assert await run.of([1, 2]) == []
    assert run.stop_signal.reasons == {StopReason.DISK: "journal: No space left on device"}


async def test_after_a_stop_work_in_progress_finishes_and_the_rest_is_not_taken() -> None:
    async def handler(each: Submission) -> Outcome:
        run.stop_signal.stop(StopReason.SIGTERM, "terminated")
        await asyncio.sleep(0.01)
        return migrated(each)

    run = Run(handler, consumers=1)
    assert await run.of([1, 2, 3]) == [(1, Status.MIGRATED)]


@pytest.mark.parametrize("attempts", [[1], [1, 2, 3]])
async def test_what_outlasts_the_grace_period_is_cancelled(attempts: list[int]) -> None:
    cancelled: list[int] = []

    async def handler(each: Submission) -> Outcome:
        run.stop_signal.stop(StopReason.SIGTERM, "terminated")
        try:
            await asyncio.sleep(DEADLINE_S * 10)
        except asyncio.CancelledError:
            cancelled.append(each.attempt)
            raise
        return migrated(each)

    run = Run(handler, consumers=1)
    assert await run.of(attempts, grace_s=0.01) == []
    assert cancelled == [1]


async def test_a_stopped_wait_gives_no_outcome() -> None:
    async def handler(each: Submission) -> Outcome:
        raise RunStopped

    run = Run(handler)
    assert await run.of([1, 2]) == []
    assert run.stop_signal.exit_code(0) is ExitCode.DONE


async def test_a_cancelled_consumer_is_an_internal_error_and_the_others_go_on() -> None:
    async def handler(each: Submission) -> Outcome:
        if each.attempt == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)
        return migrated(each)

    run = Run(handler, consumers=2)
    assert await run.of([1, 2, 3]) == [(2, Status.MIGRATED), (3, Status.MIGRATED)]
    assert run.stop_signal.exit_code(0) is ExitCode.INTERNAL


async def test_rule_14_a_refused_row_fails_when_its_host_serves_another_file() -> None:
    streak, deleted = RefusalStreak(), []

    async def delete() -> None:
        deleted.append(1)

    async def handler(each: Submission) -> Outcome | ForbiddenRow:
        if each.attempt == 1:
            streak.count += 1
            return ForbiddenRow(each, SourceForbidden(HOST, "refused", streak), delete)
        streak.is_over = True
        return migrated(each)

    run = Run(handler, consumers=1)
    assert await run.of([1, 2]) == [(1, Status.FAILED), (2, Status.MIGRATED)]
    assert deleted == [1]
    assert run.tripped == []


async def test_rule_14_a_refused_row_fails_at_the_end_of_the_run() -> None:
    async def handler(each: Submission) -> ForbiddenRow:
        return ForbiddenRow(
            each, SourceForbidden(HOST, "refused", RefusalStreak(1)), nothing_to_delete
        )

    run = Run(handler)
    assert await run.of([1]) == [(1, Status.FAILED)]


async def test_rule_14_ten_refused_rows_trip_the_host_and_are_tried_again() -> None:
    streak, tries = RefusalStreak(), 0

    async def handler(each: Submission) -> Outcome | ForbiddenRow:
        nonlocal tries
        tries += 1
        if tries <= 10:
            streak.count += 1
            return ForbiddenRow(each, SourceForbidden(HOST, "refused", streak), nothing_to_delete)
        return migrated(each)

    run = Run(handler, consumers=1)
    assert await run.of(range(1, 11)) == [(n, Status.MIGRATED) for n in range(1, 11)]
    assert tries == 20
    assert set(run.tripped) == {HOST}


async def test_rule_14_a_refused_row_does_not_fail_when_the_run_is_stopped() -> None:
    """Nothing shows that the row is wrong: it counts as not processed, and its blobs stay."""
    deleted: list[int] = []

    async def delete() -> None:
        deleted.append(1)

    async def handler(each: Submission) -> Outcome | ForbiddenRow:
        if each.attempt == 1:
            return ForbiddenRow(each, SourceForbidden(HOST, "refused", RefusalStreak(1)), delete)
        run.stop_signal.stop(StopReason.SIGTERM, "terminated")
        return migrated(each)

    run = Run(handler, consumers=1)
    assert await run.of([1, 2, 3]) == [(2, Status.MIGRATED)]
    assert deleted == []


async def test_rule_14_a_streak_of_ten_that_is_over_is_tried_again_without_an_outage() -> None:
    """The host has served a file since: the rows of the streak do not fail, and nobody waits."""
    streak, tries = RefusalStreak(9), 0

    async def handler(each: Submission) -> Outcome | ForbiddenRow:
        nonlocal tries
        tries += 1
        if tries > 1:
            return migrated(each)
        streak.count += 1
        streak.is_over = True
        return ForbiddenRow(each, SourceForbidden(HOST, "refused", streak), nothing_to_delete)

    run = Run(handler, consumers=1)
    assert await run.of([1]) == [(1, Status.MIGRATED)]
    assert run.tripped == []


async def test_rule_14_the_last_consumer_takes_rows_that_are_tried_again_after_its_end_mark() -> (
    None
):
    """Two streaks of ten: the second is complete when no other consumer is left."""
    first, second = RefusalStreak(), RefusalStreak()
    tries: Counter[int] = Counter()
    go, last = asyncio.Event(), asyncio.Event()

    async def handler(each: Submission) -> Outcome | ForbiddenRow:
        tries[each.attempt] += 1
        await asyncio.sleep(0)
        if tries[each.attempt] > 2:
            return migrated(each)
        if (each.attempt, tries[each.attempt]) == (10, 1):
            workers.append(asyncio.current_task())
            await go.wait()
        elif workers and asyncio.current_task() not in workers:
            workers.append(asyncio.current_task())
            await last.wait()
        streak = first if tries[each.attempt] == 1 else second
        streak.count += 1
        return ForbiddenRow(each, SourceForbidden(HOST, "refused", streak), nothing_to_delete)

    def consumers() -> int:
        return sum(task.get_name().startswith("consumer-") for task in asyncio.all_tasks())

    run = Run(handler, consumers=2)
    workers: list[asyncio.Task[Any] | None] = []
    for attempt in range(1, 11):
        run.queue.put_nowait(submission(attempt))
    running = asyncio.create_task(run.pool.run(1.0), name="pool")
    async with asyncio.timeout(DEADLINE_S):
        while first.count < 9:
            await asyncio.sleep(0)
        go.set()
        while tries.total() == 10:
            await asyncio.sleep(0)
        await run.pool.end()
        while consumers() > 1:
            await asyncio.sleep(0)
        assert len(workers) == 2
        last.set()
        await running
    assert sorted(each.attempt or 0 for each in run.results.outcomes) == list(range(1, 11))
