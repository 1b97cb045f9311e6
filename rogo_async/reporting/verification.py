"""verification.json: the result of the latest ``verify`` (specification §2)."""

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from rogo_async.common.files import write_private

VERIFICATION: Final = "verification.json"


class SourceDifferences(BaseModel):
    """What ``verify --source`` found: submissions, and differences by verdict and by column."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    compared: int
    differing: int
    by_verdict: dict[str, int]
    by_column: dict[str, int]


class VerificationRecord(BaseModel):
    """When the latest ``verify`` ended, its exit code and its summary line."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    finished_at: datetime
    exit_code: int
    result: str
    source: SourceDifferences | None = None


def write_verification(data_dir: Path, record: VerificationRecord) -> None:
    """Replace the record. Raises OSError."""
    write_private(data_dir / VERIFICATION, record.model_dump_json(indent=2).encode() + b"\n")


def read_verification(data_dir: Path) -> VerificationRecord | None:
    """The record; None if there is none or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return VerificationRecord.model_validate_json((data_dir / VERIFICATION).read_bytes())
    return None
