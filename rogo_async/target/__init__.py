"""The target: PostgreSQL through asyncpg. The platform owns its schema (SPEC §2)."""

from rogo_async.target.audit import Audit, FileRow, SubmissionRow
from rogo_async.target.connections import Connections
from rogo_async.target.existing import Existing, export_migrated, read_existing
from rogo_async.target.lock import RunLock
from rogo_async.target.reference import TargetReference, read_reference
from rogo_async.target.references import References
from rogo_async.target.values import foreseeable_refusal, submission_values
from rogo_async.target.writer import Standing, Writer

__all__ = [
    "Audit",
    "Connections",
    "Existing",
    "FileRow",
    "References",
    "RunLock",
    "Standing",
    "SubmissionRow",
    "TargetReference",
    "Writer",
    "export_migrated",
    "foreseeable_refusal",
    "read_existing",
    "read_reference",
    "submission_values",
]
