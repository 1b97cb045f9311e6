"""The parts of run_summary.json that are records themselves (specification §2, §7)."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from rogo_async.common.histogram import Histogram

if TYPE_CHECKING:
    from rogo_async.reporting.summary import RunSummary

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_iso, when_used="json")]


FROZEN: Final = ConfigDict(frozen=True, hide_input_in_errors=True)


class Record(BaseModel):
    """A frozen record. Its errors do not quote the file."""

    model_config = FROZEN


class Latency(Record):
    """Milliseconds of the calls of one kind, and the histogram that they come from."""

    p50: Amount
    p95: Amount
    count: Count
    buckets: dict[int, Count] = {}

    @classmethod
    def of(cls, durations: Histogram) -> Self:
        """The figures of a histogram."""
        return cls(
            p50=round(durations.quantile(0.5) * 1000, 2),
            p95=round(durations.quantile(0.95) * 1000, 2),
            count=durations.count,
            buckets=dict(sorted(durations.buckets.items())),
        )


class OutageRecord(Record):
    """A period in which a server was down. ``ended`` is false when the run ended first."""

    dependency: str
    began_at: Moment
    seconds: Amount
    ended: bool
    reason: str


class ShardFacts(Record):
    """What the shards of a run must have in common, beside the version and the target."""

    shard: Annotated[str, Field(pattern=r"^\d+/\d+$")]
    settings: str
    """A digest of the settings of the rules."""
    inputs: dict[str, str] = {}
    """The SHA-256 of each input file."""
    is_placeholder: bool = False
    """Whether no process of the shard wrote it: it only counts the rows as not processed."""


class ShardSummary(Record):
    """One shard in the summary of a distributed run."""

    shard: str
    started_at: Moment
    finished_at: Moment
    exit_code: int
    rows_total: Count
    migrated: Count
    refreshed: Count
    failed: Count
    skipped: Count
    not_reached: Count

    @classmethod
    def of(cls, summary: "RunSummary") -> Self:
        """The entry of a shard."""
        shard = "" if summary.shard is None else summary.shard.shard
        fields = cls.model_fields.keys() - {"shard"}
        return cls(shard=shard, **{name: getattr(summary, name) for name in fields})
