"""Compares ROGO_INSTANCE_ID with the instance ids in the target (specification §3).

A wrong instance id gives learners other ids than the platform does, and its submissions later count
as another tool's. Several learning management systems may use one platform, so another id is no
error as long as the target has rows with ours, too.
"""

from dataclasses import dataclass
from typing import Final

import structlog

from rogo_async.common.errors import SetupError
from rogo_async.common.text import plural, quoted
from rogo_async.destination.postgres.connections import Connections

_SCAN_S: Final = 600.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InstanceIds:
    """Session records with our instance id, and with others; ``other`` is the most frequent one."""

    own_id: str
    own: int
    others: int
    other: str | None

    @property
    def problem(self) -> str | None:
        """Why a run must not start, with the remedy; None if it may."""
        if self.own or self.other is None:
            return None
        ours, other = quoted(self.own_id), quoted(self.other)
        return (
            f"no lms_user_id in lti_session_records begins with {ours}, but "
            f"{plural(self.others, 'row')} with another instance id, most of them {other}. "
            f"Set ROGO_INSTANCE_ID to the id that the learning management system sends. If {ours} "
            "is right and new to the platform, open the platform once from that system, which "
            f"writes a row with it. If an earlier run wrote {other} by mistake, undo it: "
            f"rogo-async rollback --run RUN_ID --instance-id {other}"
        )

    @property
    def is_first(self) -> bool:
        """Whether the target has no instance id at all, so that nothing confirms ours."""
        return not self.own and self.other is None

    @property
    def first_use(self) -> str:
        """What to know before the first run into a target without learners."""
        return (
            f"the target has no lms_user_id yet: this run's will begin with "
            f"{quoted(self.own_id + '::')}, and the id can never be changed later"
        )


CONFIRM: Final = (
    "Make sure that ROGO_INSTANCE_ID is the id that the learning management system sends"
)


async def read_instance_ids(
    connections: Connections, own_id: str, timeout_s: float = _SCAN_S
) -> InstanceIds:
    """Count the session records by instance id. Raises a DependencyError."""
    async with connections.session("instance-ids") as session:
        rows = await session.rows("instance_ids", {"own": own_id}, timeout_s)
    return InstanceIds(own_id, rows[0]["own"], rows[0]["others"], rows[0]["other"])


async def verify_instance_id(connections: Connections, own_id: str) -> None:
    """Compare ROGO_INSTANCE_ID with the target; a target without ids gives a warning.

    Raises SetupError if the target has other instance ids only, and a DependencyError.
    """
    ids = await read_instance_ids(connections, own_id)
    if ids.problem is not None:
        raise SetupError(f"ROGO_INSTANCE_ID: {ids.problem}")
    if ids.is_first:
        log.warning(ids.first_use, remedy=CONFIRM)
