"""``check``: whether a run would find everything as it needs it (SPEC §5)."""

from rogo_async.check.checkup import Checkup
from rogo_async.check.findings import Finding, State

__all__ = ["Checkup", "Finding", "State"]
