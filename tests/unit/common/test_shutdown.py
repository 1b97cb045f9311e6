"""What ends a run, and the exit code where several things do (SPEC §5)."""

import asyncio

import pytest

from rogo_async.common.errors import RunStopped
from rogo_async.common.shutdown import Control, ExitCode, StopReason

BY_RANK = [
    (StopReason.FAULT, 70),
    (StopReason.SIGINT, 130),
    (StopReason.SIGTERM, 143),
    (StopReason.OUTAGE, 3),
    (StopReason.WINDOW, 5),
]


@pytest.mark.parametrize("place", range(len(BY_RANK)))
@pytest.mark.parametrize("failed", [0, 3])
def test_the_gravest_reason_gives_the_code(place: int, failed: int) -> None:
    control = Control()
    for reason, _ in reversed(BY_RANK[place:]):
        control.stop(reason, "why")
    assert control.exit_code(failed) == BY_RANK[place][1]


@pytest.mark.parametrize(
    "reason", [StopReason.DISK, StopReason.LOCK_LOST, StopReason.INPUT_CHANGED]
)
def test_these_stop_early(reason: StopReason) -> None:
    control = Control()
    control.stop(reason, "why")
    assert control.exit_code(0) == 3


def test_without_a_reason_the_rows_decide() -> None:
    control = Control()
    assert control.exit_code(0) is ExitCode.DONE
    assert control.exit_code(1) is ExitCode.SOME_FAILED
    control.unresolved = 1
    assert control.exit_code(1) is ExitCode.STOPPED_EARLY
    control.fault()
    assert control.exit_code(1) is ExitCode.INTERNAL
    assert not control.stopping


def test_the_first_detail_counts() -> None:
    control = Control()
    control.stop(StopReason.DISK, "the first")
    control.stop(StopReason.DISK, "the second")
    assert control.reasons == {StopReason.DISK: "the first"}


async def test_a_sleep_ends_when_the_run_is_told_to_stop() -> None:
    control = Control()
    await control.sleep(0.001)
    control.check()
    sleeping = asyncio.create_task(control.sleep(60), name="sleeping")
    await asyncio.sleep(0)
    control.stop(StopReason.SIGINT, "told to")
    with pytest.raises(RunStopped):
        await asyncio.wait_for(sleeping, 5)
    with pytest.raises(RunStopped):
        control.check()
