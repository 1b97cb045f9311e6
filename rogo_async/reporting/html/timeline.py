"""The timeline of a run: points in bounded memory, stored as one JSON object per line."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import orjson
from pydantic import TypeAdapter, ValidationError

_LIMIT: Final = 2_000


@dataclass(frozen=True, slots=True)
class Point:
    """The state of a run ``at_s`` seconds after its start.

    ``done``, ``migrated``, ``failed`` and ``skipped`` count from the start of the run.
    ``rate_per_s`` and ``outages`` (the maximum of simultaneous ones) refer to the ``seconds``
    before the point.
    """

    at_s: float
    seconds: float
    done: int
    migrated: int
    failed: int
    skipped: int
    rate_per_s: float
    outages: int


_POINT: Final = TypeAdapter(Point)


class Timeline:
    """Points in order of time.

    At the limit, pairs of neighbours are merged. A long run is then covered completely, with
    fewer points per hour.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self.points: list[Point] = []
        self._limit = limit
        self._stride = 1
        self._in_last = 0

    def add(self, point: Point) -> None:
        """Add a point, which must be later than all others."""
        if self.points and self._in_last < self._stride:
            self.points[-1] = _merged(self.points[-1], point)
            self._in_last += 1
            return
        self.points.append(point)
        self._in_last = 1
        if len(self.points) > self._limit:
            self._coarsen()

    def finish(self, point: Point) -> None:
        """Add the last point.

        Shortly after another point it is merged with that one: the rate of a very short period
        has no meaning.
        """
        if self.points and point.seconds < self.points[-1].seconds / 2:
            self.points[-1] = _merged(self.points[-1], point)
        else:
            self.add(point)

    def json_lines(self) -> bytes:
        """The points as the text of the file."""
        return b"".join(orjson.dumps(asdict(point)) + b"\n" for point in self.points)

    def _coarsen(self) -> None:
        pairs = zip(self.points[::2], self.points[1::2], strict=False)
        merged = [_merged(first, second) for first, second in pairs]
        if len(self.points) % 2:
            merged.append(self.points[-1])
        else:
            self._in_last += self._stride
        self.points = merged
        self._stride *= 2


def _merged(first: Point, second: Point) -> Point:
    seconds = first.seconds + second.seconds
    rows = first.rate_per_s * first.seconds + second.rate_per_s * second.seconds
    return Point(
        at_s=second.at_s,
        seconds=round(seconds, 3),
        done=second.done,
        migrated=second.migrated,
        failed=second.failed,
        skipped=second.skipped,
        rate_per_s=round(rows / seconds, 2) if seconds > 0 else 0.0,
        outages=max(first.outages, second.outages),
    )


def merged(parts: Sequence[tuple[float, Sequence[Point]]]) -> Timeline:
    """The timeline of processes that ran side by side: the sums of their counts.

    Each part is the start of a process, in seconds after the first one, and its points. Of
    simultaneous outages the maximum counts: a server is down for all of them.
    """
    events = sorted(
        (
            (offset_s + point.at_s, number, point)
            for number, (offset_s, points) in enumerate(parts)
            for point in points
        ),
        key=lambda event: event[:2],
    )
    ends_s = {
        number: offset_s + points[-1].at_s
        for number, (offset_s, points) in enumerate(parts)
        if points
    }
    latest: dict[int, Point] = {}
    timeline, before_s, before = Timeline(), 0.0, 0
    for second, group in groupby(events, key=lambda event: math.floor(event[0])):
        at_s = float(second)
        for event_s, number, point in group:
            latest[number], at_s = point, event_s
        done = sum(each.done for each in latest.values())
        seconds = at_s - before_s
        timeline.add(
            Point(
                at_s=round(at_s, 3),
                seconds=round(seconds, 3),
                done=done,
                migrated=sum(each.migrated for each in latest.values()),
                failed=sum(each.failed for each in latest.values()),
                skipped=sum(each.skipped for each in latest.values()),
                rate_per_s=round((done - before) / seconds, 2) if seconds > 0 else 0.0,
                outages=max(p.outages for n, p in latest.items() if ends_s[n] >= at_s),
            )
        )
        before_s, before = at_s, done
    return timeline


def timeline_file(runs: Path, run_id: str) -> Path:
    """The path of a run's timeline file."""
    return runs / f"{run_id}.timeline.jsonl"


def read_points(lines: Iterable[bytes]) -> list[Point]:
    """Read the points of a file. Ignores a line that a crash left incomplete."""
    points = []
    for line in lines:
        try:
            points.append(_POINT.validate_json(line))
        except ValidationError:
            continue
    return points
