"""The fields of a run's summary (specification §2) as a report reads them."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

RUN_ID: Final = r"\d{8}T\d{6}Z-[0-9a-f]{8}"

_Count = Annotated[int, Field(ge=0)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Consumer(_Record):
    """What one consumer has done."""

    id: int
    processed: _Count
    migrated: _Count
    failed: _Count


class Latency(_Record):
    """Milliseconds of the calls of one kind."""

    p50: _Amount
    p95: _Amount
    count: _Count


class Outage(_Record):
    """A time in which a server did not answer."""

    dependency: str
    began_at: datetime
    seconds: _Amount
    ended: bool
    reason: str


class Summary(_Record):
    """A run in figures (specification §2)."""

    run_id: Annotated[str, Field(pattern=f"^{RUN_ID}$")]
    started_at: datetime
    finished_at: datetime
    exit_code: int
    stopped_by: dict[str, str] = {}
    rows_total: _Count
    migrated: _Count
    failed: _Count
    skipped: _Count
    not_reached: _Count
    by_code: dict[str, _Count]
    failed_new: _Count
    rate_per_s: _Amount
    consumers: list[Consumer]
    latency_ms: dict[str, Latency]
    concurrency: _Count
    retries: dict[str, _Count]
    outages: list[Outage]
