"""For whose locks a shard waits, and when it hears signals (specification §7)."""

import os
import signal
import sys
from pathlib import Path

import pytest

from rogo_async.common.data_dir import DataDir, shards_of
from rogo_async.common.errors import LockHeld
from rogo_async.destination.postgres.lock_claims import ANOTHER_RUN
from rogo_async.distributed.children import STOP_SIGNALS, Children
from rogo_async.distributed.worker import is_held_by_earlier_try

RUN = "20250310T010000Z-1a2b3c4d"
SINCE = "since 2025-03-10 01:00:00 UTC"


def test_a_shard_waits_for_a_frozen_try_in_the_same_directory(tmp_path: Path) -> None:
    directory = shards_of(tmp_path, RUN) / "0-of-4"
    directory.mkdir(parents=True)
    earlier = DataDir(directory)
    earlier.lock(f"run {RUN}")
    with pytest.raises(LockHeld) as refused:
        DataDir(directory).lock(f"run {RUN}")
    earlier.unlock()
    assert is_held_by_earlier_try(RUN, ["another line", str(refused.value)])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"another process has been running shard 0/4 of this run {SINCE}", True),
        (f"{ANOTHER_RUN} {SINCE}", False),
    ],
)
def test_a_shard_waits_for_its_own_lock_in_the_target_only(message: str, *, expected: bool) -> None:
    assert is_held_by_earlier_try(RUN, [message]) is expected


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_a_shard_that_is_starting(number: signal.Signals) -> None:
    """Its interpreter has no handlers then, and the worker ignores signals."""
    children = Children()
    before = signal.signal(number, signal.SIG_IGN)
    try:
        command = (sys.executable, "-m", "rogo_async.distributed.child", str(os.getpid()), "run")
        with children.started(RUN, command, {}) as child:
            children.stop(RUN, number)
            _, messages = child.communicate()
            assert (child.returncode, messages) == (-number, b"")
    finally:
        signal.signal(number, before)
