"""``rollback``: takes what was migrated out again, rows, blobs and all (SPEC §5)."""

from rogo_async.rollback.flow import Rollback
from rogo_async.rollback.selection import OfAttempts, OfRun, Selection

__all__ = ["OfAttempts", "OfRun", "Rollback", "Selection"]
