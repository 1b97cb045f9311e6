"""Adds the summaries of the shards of a run up to one of the whole run (specification §7)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from rogo_async.common.histogram import Histogram
from rogo_async.common.shutdown import ExitCode, most_serious
from rogo_async.reporting.summary import RunSummary
from rogo_async.reporting.summary_parts import Latency, ShardSummary

_SUMS = (
    "rows_total",
    "migrated",
    "refreshed",
    "failed",
    "skipped",
    "not_reached",
    "concurrency",
    "files",
    "file_bytes",
    "copied_files",
    "copied_bytes",
    "streamed_files",
    "streamed_bytes",
)
"""The fields that are added up."""


def merged(shards: Sequence[RunSummary], failed_new: int, failed_accepted: int) -> RunSummary:
    """The summary of the run of these shards, which are all of them and in order.

    New and accepted failures are given: a shard may not know the earlier runs.
    """
    first = shards[0]
    sums = {name: sum(getattr(each, name) for each in shards) for name in _SUMS}
    started_at = min(each.started_at for each in shards)
    finished_at = max(each.finished_at for each in shards)
    duration_s = max((finished_at - started_at).total_seconds(), 1e-3)
    return RunSummary(
        run_id=first.run_id,
        started_at=started_at,
        finished_at=finished_at,
        exit_code=int(_exit_code(shards, sums["failed"] - failed_accepted, sums["not_reached"])),
        stopped_by=reasons_of(shards),
        by_code=_added(each.by_code for each in shards),
        failed_new=failed_new,
        failed_accepted=failed_accepted,
        rate_per_s=round((sums["rows_total"] - sums["not_reached"]) / duration_s, 2),
        consumers=[
            replace(figures, id=number)
            for number, figures in enumerate((f for each in shards for f in each.consumers), 1)
        ],
        latency_ms=_latencies(shards),
        retries=_added(each.retries for each in shards),
        outages=sorted(
            (outage for each in shards for outage in each.outages), key=lambda o: o.began_at
        ),
        version=first.version,
        target=first.target,
        selection=first.selection,
        streamed_because=_added(each.streamed_because for each in shards),
        shards=[ShardSummary.of(each) for each in shards],
        **sums,
    )


def _exit_code(shards: Sequence[RunSummary], failed: int, not_reached: int) -> ExitCode:
    """The most serious one. Whether failed rows count is decided for the whole run.

    A run with rows that were not processed has stopped early, also if no shard says so.
    """
    ended = {ExitCode.DONE, ExitCode.SOME_FAILED}
    codes = {ExitCode(each.exit_code) for each in shards} - ended
    if not_reached and not codes:
        codes = {ExitCode.STOPPED_EARLY}
    return most_serious(codes | ({ExitCode.SOME_FAILED} if failed else set()))


def reasons_of(shards: Iterable[RunSummary]) -> dict[str, str]:
    """Why shards stopped: the text of the first one for each reason, and which ones."""
    found: dict[str, tuple[str, list[str]]] = {}
    for each in shards:
        for reason, text in each.stopped_by.items():
            found.setdefault(reason, (text, []))[1].append(name_of(each))
    return {reason: f"{text} (shard {', '.join(names)})" for reason, (text, names) in found.items()}


def name_of(summary: RunSummary) -> str:
    """The shard that a summary is of."""
    return "" if summary.shard is None else summary.shard.shard


def _added(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for part in parts:
        sums.update(part)
    return dict(sorted(sums.items()))


def _latencies(shards: Sequence[RunSummary]) -> dict[str, Latency]:
    found: dict[str, Histogram] = {}
    for each in shards:
        for name, latency in each.latency_ms.items():
            found.setdefault(name, Histogram()).merge(Histogram(latency.buckets))
    return {name: Latency.of(durations) for name, durations in sorted(found.items())}


def differences(
    shards: Sequence[RunSummary], what: str, value_of: Callable[[RunSummary], object]
) -> list[str]:
    """One text if the shards differ in a value: which shards have which one."""
    groups: dict[str, list[str]] = {}
    for each in shards:
        groups.setdefault(repr(value_of(each)), []).append(name_of(each))
    if len(groups) < 2:
        return []
    return [f"{what} differ: " + " and ".join(f"shard {', '.join(g)}" for g in groups.values())]
