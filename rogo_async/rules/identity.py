"""Attempt ids, launch ids, and the row ids that are derived from them (specification §2)."""

import hashlib
import re
from typing import Final
from uuid import UUID, uuid5

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.text import quoted
from rogo_async.rules.records import Identity

SQL_INT_MAX: Final = 2_147_483_647

_SUFFIX_LENGTH: Final = 16
_NAMESPACE: Final = UUID("6f1d3a52-9c0e-5b7e-8d41-2b7c54a0e9f3")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID_BYTES: Final = 16
_DIGITS: Final = re.compile(r"[0-9]+")
_LAUNCH_ID: Final = re.compile(r"rogo_([0-9]+)_")


def sql_int(digits: str) -> int | None:
    """Read ASCII digits, of any length, as an integer; None if it is beyond SQL int."""
    significant = digits.lstrip("0")
    # int() raises ValueError for strings of several thousand digits.
    if len(significant) > len(str(SQL_INT_MAX)):
        return None
    value = int(significant or "0")
    return value if value <= SQL_INT_MAX else None


def parse_attempt_id(text: str) -> int:
    """Read an Attempt ID (rule 1): ASCII digits only; ``007`` is 7.

    Raises RowError attempt_id_missing or attempt_id_invalid.
    """
    trimmed = text.strip()
    if not trimmed:
        raise RowError(FailureCode.ATTEMPT_ID_MISSING, "Attempt ID is empty")
    value = sql_int(trimmed) if _DIGITS.fullmatch(trimmed) else None
    if not value:
        raise RowError(
            FailureCode.ATTEMPT_ID_INVALID,
            f"Attempt ID {quoted(trimmed)} is not a whole number from 1 to {SQL_INT_MAX}",
        )
    return value


def launch_id(attempt: int, instance_id: str) -> str:
    """Return the launch id that this tool derives from an attempt (specification §2).

    Never change its form: every attempt would be migrated a second time.
    """
    # The attempt is digits only and ends at the NUL, so no two pairs share an encoding.
    encoded = b"rogo-launch-id/1\0%d\0" % attempt + instance_id.encode()
    return f"rogo_{attempt}_{hashlib.sha256(encoded).hexdigest()[:_SUFFIX_LENGTH]}"


def attempt_of_launch_id(launch_id: str) -> int | None:
    """Return the attempt that a launch id marks as migrated, by this tool or an earlier one.

    None when it is not of the form ``rogo_{digits}_{anything}`` or beyond SQL int.
    """
    match = _LAUNCH_ID.match(launch_id)
    return sql_int(match[1]) if match else None


def submission_id(run_id: str, attempt: int) -> str:
    """Return the id of an attempt's submission in a run; deterministic."""
    return str(uuid5(_NAMESPACE, f"submission/{attempt}/{run_id}"))


def is_uuid(text: str) -> bool:
    """Whether a row's id has the form of ``submission_id`` and ``child_id``."""
    return _UUID.fullmatch(text) is not None


def child_id(submission_id: str, kind: str, index: int = 0) -> str:
    """Return the id of the ``index``-th row of a kind that belongs to a submission (UUIDv5).

    Raises ValueError if the submission's id is no UUID. It takes a third of the time of ``uuid5``.
    """
    if len(namespace := bytes.fromhex(submission_id.replace("-", ""))) != _UUID_BYTES:
        raise ValueError("the id of the submission is no UUID")
    name = f"{index}/{kind}".encode()
    digest = hashlib.sha1(namespace + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def identify(attempt: int, run_id: str, instance_id: str) -> Identity:
    """Return the ids under which a run writes an attempt."""
    return Identity(
        attempt=attempt,
        launch_id=launch_id(attempt, instance_id),
        submission_id=submission_id(run_id, attempt),
    )
