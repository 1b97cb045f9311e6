"""The plot of docs/performance.md, from the output of ``seed --json``.

``python -m tests.bench.plot SEED.json > docs/performance.svg``. Rates are multiplied by the stretch
factor, to show them for the unstretched latencies.
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.delayed import ideal_latency_s
from tests.bench.old_design import WORKERS

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 40, 40, 56
CONSUMERS = (1, 512)
RATES = (0.5, 512)
TICKS_X = (1, 4, 16, 64, 256)
TICKS_Y = (1, 4, 16, 64, 256)
INK, GREY, OURS, OLD = "#1f2933", "#9aa5b1", "#0b69a3", "#ba2525"
Point = tuple[float, float]


def svg(seed: dict[str, Any]) -> str:
    """The plot as text."""
    alone = ideal_latency_s()
    ours = sorted(_ours(seed))
    old = (float(WORKERS), seed["seed.rate"] * seed["stretch"])
    law = [(float(n), n / alone) for n in CONSUMERS if n / alone <= RATES[1]]
    law.append((RATES[1] * alone, float(RATES[1])))
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}" role="img">'
        ),
        "<title>Submissions a second by consumers</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_axes(),
        _line(law, GREY, "stroke-dasharray='5 4'"),
        _text(_at(law[-1]), "Little&#8217;s law", GREY, dx=-8, dy=-8, anchor="end"),
        _line(ours, OURS),
        *_dots(ours, OURS),
        *(_text(_at((n, rate)), f"{rate:.3g}", OURS, dx=9, dy=13) for n, rate in ours),
        *_dots([old], OLD),
        _text(_at(old), f"the old design, {WORKERS} workers: {old[1]:.2g}", OLD, dx=10, dy=16),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ours(seed: dict[str, Any]) -> Iterable[Point]:
    for key in ("5", "default", "256"):
        yield seed[f"ours.{key}.consumers"], seed[f"ours.{key}.rate"] * seed["stretch"]


def _at(point: Point) -> Point:
    across = math.log(point[0] / CONSUMERS[0]) / math.log(CONSUMERS[1] / CONSUMERS[0])
    up = math.log(point[1] / RATES[0]) / math.log(RATES[1] / RATES[0])
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _axes() -> Iterable[str]:
    left, bottom = _at((CONSUMERS[0], RATES[0]))
    right, top = _at((CONSUMERS[1], RATES[1]))
    for tick in TICKS_Y:
        _, y = _at((1, tick))
        yield f'<path d="M{left} {y:.1f}H{right:.1f}" stroke="#e4e7eb"/>'
        yield _text((left, y), str(tick), INK, dx=-8, dy=4, anchor="end")
    for tick in TICKS_X:
        x, _ = _at((tick, 1))
        yield f'<path d="M{x:.1f} {bottom}V{bottom + 5}" stroke="{INK}"/>'
        yield _text((x, bottom), str(tick), INK, dy=20, anchor="middle")
    yield f'<path d="M{left} {bottom}H{right:.1f}" stroke="{INK}"/>'
    yield _text(((left + right) / 2, bottom), "consumers", INK, dy=42, anchor="middle")
    yield _text((left, top), "submissions a second, latencies of the old account", INK, dy=-14)


def _line(points: Sequence[Point], colour: str, more: str = "") -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(_at, points))
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" {more}/>'


def _dots(points: Iterable[Point], colour: str) -> Iterable[str]:
    for x, y in map(_at, points):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'


def _text(
    workspace: Point, text: str, colour: str, *, dx: float = 0, dy: float = 0, anchor: str = "start"
) -> str:
    x, y = workspace[0] + dx, workspace[1] + dy
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


if __name__ == "__main__":
    sys.stdout.write(svg(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
