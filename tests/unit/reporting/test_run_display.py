"""The four lines of progress, and the table at the end (specification §5)."""

from collections import Counter
from datetime import UTC, datetime

from rich.console import Console

from rogo_async.common.call_stats import Outage
from rogo_async.common.errors import Dependency
from rogo_async.common.shutdown import StopSignal
from rogo_async.reporting.progress import RunProgress
from rogo_async.reporting.rate import Rate
from rogo_async.reporting.run_display import RunDisplay, end_table
from rogo_async.reporting.summary import ConsumerFigures, RunRecord
from rogo_async.rules.records import Route, Status

RUN = "20250310T010000Z-1a2b3c4d"
AT = datetime(2025, 3, 10, 1, tzinfo=UTC)


def display() -> RunDisplay:
    record = RunRecord.begin(RUN, 3)
    record.started_s = 100.0
    done = Counter({Status.MIGRATED: 1_200, Status.FAILED: 30, Status.SKIPPED: 270})
    record.tally.total = 3_000
    record.tally.by_status = done
    record.tally.by_code.update(
        {"email_missing": 20, "mapping_missing": 10, "already_migrated": 270}
    )
    record.tally.count_file(Route.COPIED, 10_000_000)
    record.consumers = [ConsumerFigures(number, processed=number * 200) for number in (1, 2, 3)]
    record.call_stats.retries["store.write"] = 4
    rate = Rate()
    progress = RunProgress(3_000, done, record.consumers, rate, lambda: 1_500)
    rate.sample(130.0, 0)
    rate.sample(160.0, 1_200)
    return RunDisplay("migrating", progress, record, lambda: 64)


def test_the_four_lines() -> None:
    shown = display()
    shown.lines(130.0)
    shown.record.tally.count_file(Route.COPIED, 60_000_000)
    assert shown.lines(160.0) == [
        "migrating 50.0 %  1,500 of 3,000  40.0/s  1.9 MB/s  0:01:00  0:00:38 left",
        "64 in work  4 repeated calls",
        "migrated 1,200  failed 30  skipped 270  email_missing 20, mapping_missing 10",
        "3 consumers: 200 least, 400 median, 600 most",
    ]


def test_what_is_waited_for_is_said_with_its_limit() -> None:
    shown = display()
    outages = shown.record.call_stats.outages
    outages.append(Outage("warehouse", AT, 110.0, "over", 900.0, ended_s=120.0))
    outages.append(Outage("store", AT, 150.0, "no answer in time", 900.0))
    until = datetime(2025, 3, 10, 1, 15, tzinfo=UTC).astimezone()
    assert shown.lines(160.0)[1] == (
        f"64 in work  4 repeated calls  waiting for store until {until:%H:%M:%S}: no answer in time"
    )


def test_the_table_has_calls_and_totals() -> None:
    record = display().record
    for _ in range(3):
        record.call_stats.observe(Dependency.STORE, "write", 0.010)
    console = Console(width=80, record=True, file=None, no_color=True)
    with console.capture() as captured:
        console.print(end_table(record.summary(StopSignal())))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert lines[0] == "calls to calls repeated p50 ms p95 ms"
    assert lines[1] == "store.write 3 4 10.0 10.0"
    assert lines[2].startswith("3,000 rows, 1 file, 9.5 MB")
