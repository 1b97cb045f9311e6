"""The reasons that end a run, and the exit code for several reasons (specification §5)."""

import asyncio

import pytest

from rogo_async.common.errors import RunStopped
from rogo_async.common.shutdown import ExitCode, StopReason, StopSignal

BY_RANK = [
    (StopReason.FAULT, 70),
    (StopReason.SIGINT, 130),
    (StopReason.SIGTERM, 143),
    (StopReason.SIGHUP, 129),
    (StopReason.OUTAGE, 3),
    (StopReason.WINDOW, 5),
]


@pytest.mark.parametrize("position", range(len(BY_RANK)))
@pytest.mark.parametrize("failed", [0, 3])
def test_the_most_severe_stop_reason_decides_the_exit_code(position: int, failed: int) -> None:
    stop_signal = StopSignal()
    for reason, _ in reversed(BY_RANK[position:]):
        stop_signal.stop(reason, "why")
    assert stop_signal.exit_code(failed) == BY_RANK[position][1]


@pytest.mark.parametrize(
    "reason", [StopReason.DISK, StopReason.LOCK_LOST, StopReason.INPUT_CHANGED]
)
def test_stop_reasons_that_end_a_run_early(reason: StopReason) -> None:
    stop_signal = StopSignal()
    stop_signal.stop(reason, "why")
    assert stop_signal.exit_code(0) == 3


def test_without_a_stop_reason_the_rows_decide_the_exit_code() -> None:
    stop_signal = StopSignal()
    assert stop_signal.exit_code(0) is ExitCode.DONE
    assert stop_signal.exit_code(1) is ExitCode.SOME_FAILED
    stop_signal.unresolved = 1
    assert stop_signal.exit_code(1) is ExitCode.STOPPED_EARLY
    stop_signal.record_internal_error()
    assert stop_signal.exit_code(1) is ExitCode.INTERNAL
    assert not stop_signal.stopping


def test_the_first_detail_of_a_reason_is_kept() -> None:
    stop_signal = StopSignal()
    stop_signal.stop(StopReason.DISK, "the first")
    stop_signal.stop(StopReason.DISK, "the second")
    assert stop_signal.reasons == {StopReason.DISK: "the first"}


async def test_a_stop_request_ends_a_sleep() -> None:
    stop_signal = StopSignal()
    await stop_signal.sleep(0.001)
    stop_signal.raise_if_stopping()
    sleeping = asyncio.create_task(stop_signal.sleep(60), name="sleeping")
    await asyncio.sleep(0)
    stop_signal.stop(StopReason.SIGINT, "told to")
    with pytest.raises(RunStopped):
        await asyncio.wait_for(sleeping, 5)
    with pytest.raises(RunStopped):
        stop_signal.raise_if_stopping()
