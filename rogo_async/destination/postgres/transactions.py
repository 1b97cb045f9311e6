"""A transaction that changes rows which it has read, under the locks of malpractice keys."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import asyncpg

from rogo_async.destination.postgres.connections import Session


class Transaction:
    """Ends in COMMIT unless ``roll_back`` was called."""

    def __init__(self) -> None:
        self.end = "COMMIT"

    def roll_back(self) -> None:
        """Let the transaction end in ROLLBACK."""
        self.end = "ROLLBACK"


@asynccontextmanager
async def locked_transaction(session: Session, keys: Iterable[int]) -> AsyncIterator[Transaction]:
    """A REPEATABLE READ transaction under the advisory locks of malpractice rules' keys.

    The session takes the locks before the snapshot, so it sees the rows of earlier lock holders.
    If another session changes one of the rows at the same time, the transaction fails with a
    serialization failure.
    """
    raw = session.raw
    locks = [{"key": key} for key in sorted(set(keys))]
    transaction = Transaction()
    try:
        for lock in locks:
            await session.row("lock_key", lock)
        await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        yield transaction
        await raw.execute(transaction.end)
    except asyncpg.PostgresError as error:
        # After any other error the connection is terminated, which ends transaction and locks.
        if not isinstance(error, asyncpg.PostgresConnectionError):
            await raw.execute("ROLLBACK")
            await _unlock(session, locks)
        raise
    await _unlock(session, locks)


async def _unlock(session: Session, locks: Iterable[dict[str, int]]) -> None:
    for lock in locks:
        await session.row("unlock_key", lock)
