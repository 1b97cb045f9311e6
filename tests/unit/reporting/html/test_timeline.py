"""The timeline stays bounded and correct, however long a run is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.reporting.html.timeline import Point, Timeline, merged, read_points


def series(rates: list[int], outages: list[int] | None = None) -> list[Point]:
    """A point a second, with so many rows in each."""
    points, done = [], 0
    for second, rate in enumerate(rates, 1):
        done += rate
        down = outages[second - 1] if outages else 0
        points.append(Point(float(second), 1.0, done, done, 0, 0, float(rate), down))
    return points


def taken(points: list[Point], limit: int) -> list[Point]:
    timeline = Timeline(limit)
    for point in points:
        timeline.add(point)
        assert len(timeline.points) <= limit
    return timeline.points


@given(
    rates=st.lists(st.integers(0, 1_000), min_size=1, max_size=300),
    limit=st.integers(2, 40),
)
def test_a_coarser_timeline_has_the_same_totals(rates: list[int], limit: int) -> None:
    points = series(rates)
    kept = taken(points, limit)
    assert kept[-1].at_s == points[-1].at_s
    assert kept[-1].done == sum(rates)
    assert sum(point.seconds for point in kept) == len(rates)
    by_time = {point.at_s: point.done for point in points}
    assert all(by_time[point.at_s] == point.done for point in kept)
    rows = sum(point.rate_per_s * point.seconds for point in kept)
    assert rows == pytest.approx(sum(rates), abs=0.01 * len(rates) * len(kept))


def test_points_are_evenly_spaced_in_a_long_run() -> None:
    kept = taken(series([1] * 10_000), 100)
    assert len(kept) > 50
    assert len({point.seconds for point in kept[:-1]}) == 1


def test_merged_points_keep_their_outages() -> None:
    outages = [0] * 900
    outages[333] = 2
    kept = taken(series([1] * 900, outages), 10)
    assert max(point.outages for point in kept) == 2
    assert sum(point.outages > 0 for point in kept) == 1


def test_a_very_short_last_point_is_merged() -> None:
    timeline = Timeline()
    for point in series([4, 6]):
        timeline.add(point)
    timeline.finish(Point(2.001, 0.001, 11, 11, 0, 0, 1000.0, 0))
    assert len(timeline.points) == 2
    last = timeline.points[-1]
    assert (last.at_s, last.done, last.seconds) == (2.001, 11, 1.001)
    assert last.rate_per_s == pytest.approx(7, abs=0.01)
    timeline.finish(Point(2.9, 0.899, 12, 12, 0, 0, 1.1, 0))
    assert len(timeline.points) == 3


def test_written_points_are_read_back() -> None:
    timeline = Timeline()
    for point in series([3, 0, 5]):
        timeline.add(point)
    lines = timeline.json_lines().splitlines(keepends=True)
    assert read_points(lines) == timeline.points


def test_an_invalid_line_is_ignored() -> None:
    timeline = Timeline()
    for point in series([3, 4]):
        timeline.add(point)
    whole, other = timeline.json_lines().splitlines()
    for strange in (other[:20], b"[1]", b"{}", b"", other.replace(b"7,", b'"x",')):
        assert read_points([whole, strange]) == timeline.points[:1]


def test_timelines_of_processes_that_ran_side_by_side_are_added_up() -> None:
    first = [Point(1.0, 1.0, 10, 8, 1, 1, 10.0, 0), Point(2.2, 1.2, 20, 16, 2, 2, 8.3, 2)]
    second = [Point(1.0, 1.0, 5, 5, 0, 0, 5.0, 1), Point(3.0, 2.0, 9, 9, 0, 0, 2.0, 0)]
    found = merged([(0.0, first), (0.5, second)]).points
    assert [(p.at_s, p.done, p.migrated, p.failed, p.skipped, p.outages) for p in found] == [
        (1.5, 15, 13, 1, 1, 1),
        (2.2, 25, 21, 2, 2, 2),
        (3.5, 29, 25, 2, 2, 0),
    ]
    assert [p.seconds for p in found] == [1.5, 0.7, 1.3]
    assert [p.rate_per_s for p in found] == [10.0, 14.29, 3.08]
    assert merged([]).points == []
