"""What a process takes of the target's run lock: all of it, or the part of one shard.

The shards of a run share the lock. Each also holds a lock with the key of its run, shared, and one
with its own key, exclusively. They are taken in this order: key of the run, key of the shard, run
lock. So every holder of the run lock that lacks the key of this run belongs to another run.

Source: specification §7.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from rogo_async.common.shard import Shard
from rogo_async.destination.postgres.connections import Session

_CLASS: Final = 0x526F676F
_OBJECT: Final = 1
LOCK_KEY: Final = {"class": _CLASS, "object": _OBJECT}
ANOTHER_RUN: Final = "another run has held this target's lock"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Who holds a lock that is needed. The process is None if it has gone since."""

    text: str
    pid: int | None
    since: datetime | None


class Claim(Protocol):
    """What is taken of the run lock, on a new session. All of it ends with that session."""

    async def take(self, session: Session) -> Obstacle | None:
        """Take it; returns what is in the way. Then the caller ends the session."""


class WholeLock:
    """The lock for this process alone."""

    async def take(self, session: Session) -> Obstacle | None:
        """Take the lock exclusively."""
        if (await session.row("try_lock", LOCK_KEY))["locked"]:
            return None
        return _obstacle(ANOTHER_RUN, await session.row("lock_holder", LOCK_KEY))


WHOLE_LOCK: Final = WholeLock()


class ShardLock:
    """The lock of one shard, shared with the other shards of its run.

    The number of shards is part of the run's key: shards that count differently would not divide
    the rows.
    """

    def __init__(self, run_id: str, shard: Shard) -> None:
        self._shard = shard
        self._run_key = {"key": _key(f"run {run_id} of {shard.count}")}
        self._shard_key = {"key": _key(f"run {run_id} shard {shard}")}

    async def take(self, session: Session) -> Obstacle | None:
        """Take the three locks. Two runs that begin together may refuse each other."""
        if not (await session.row("try_key_shared", self._run_key))["locked"]:
            return _obstacle(ANOTHER_RUN, None)
        if not (await session.row("try_key", self._shard_key))["locked"]:
            holder = await session.row("key_holder", self._shard_key)
            return _obstacle(
                f"another process has been running shard {self._shard} of this run", holder
            )
        if not (await session.row("try_lock_shared", LOCK_KEY))["locked"]:
            return _obstacle(ANOTHER_RUN, await session.row("lock_holder", LOCK_KEY))
        other = await session.row("holder_without_key", {**LOCK_KEY, **self._run_key})
        return None if other is None else _obstacle(ANOTHER_RUN, other)


def _key(text: str) -> int:
    """A signed 64-bit digest."""
    digest = hashlib.sha256(f"rogo_async {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _obstacle(text: str, holder: Any) -> Obstacle:
    pid, since = (None, None) if holder is None else (holder["pid"], holder["since"])
    return Obstacle(text, pid, since)
