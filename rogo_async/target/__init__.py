"""The target: PostgreSQL through asyncpg. The platform owns its schema (SPEC §2)."""

from rogo_async.target.audit import Audit, FileRow, SubmissionRow
from rogo_async.target.connections import Address, Connections, Session, TableConflict
from rogo_async.target.enforcement import Enforcements
from rogo_async.target.existing import Existing, export_migrated, read_existing
from rogo_async.target.history import LeftAlone
from rogo_async.target.lock import LOCK_KEY as RUN_LOCK_KEY
from rogo_async.target.lock import RunLock
from rogo_async.target.reference import (
    TableFaults,
    TargetReference,
    applied_by,
    missing_rights,
    read_reference,
    table_faults,
)
from rogo_async.target.references import References
from rogo_async.target.rollback import Removal, Taken, Trace
from rogo_async.target.schema import READ_TABLES, WRITTEN_TABLES
from rogo_async.target.state import Holder, Migration, State, read_state
from rogo_async.target.values import (
    enforcement_values,
    foreseeable_refusal,
    submission_values,
)
from rogo_async.target.writer import Standing, Writer

__all__ = [
    "READ_TABLES",
    "RUN_LOCK_KEY",
    "WRITTEN_TABLES",
    "Address",
    "Audit",
    "Connections",
    "Enforcements",
    "Existing",
    "FileRow",
    "Holder",
    "LeftAlone",
    "Migration",
    "References",
    "Removal",
    "RunLock",
    "Session",
    "Standing",
    "State",
    "SubmissionRow",
    "TableConflict",
    "TableFaults",
    "Taken",
    "TargetReference",
    "Trace",
    "Writer",
    "applied_by",
    "enforcement_values",
    "export_migrated",
    "foreseeable_refusal",
    "missing_rights",
    "read_existing",
    "read_reference",
    "read_state",
    "submission_values",
    "table_faults",
]
