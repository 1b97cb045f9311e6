"""The progress of a distributed run: what its shards report, added up (specification §7)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from rogo_async.common.text import plural
from rogo_async.reporting.rate import Rate

COUNTS: Final = ("migrated", "failed", "skipped")


@dataclass(slots=True)
class _ShardState:
    counts: Mapping[str, Any] = field(default_factory=dict)
    worker: str | None = None
    """Where it runs now."""
    has_ended: bool = False

    def count(self, name: str) -> int:
        return int(self.counts.get(name) or 0)


class ShardsProgress:
    """The progress of a run with ``total`` rows in ``shards`` shards."""

    def __init__(self, run_id: str, total: int, shards: int) -> None:
        self._run_id = run_id
        self._total = total
        self._states = [_ShardState() for _ in range(shards)]
        self._rate = Rate()
        self._began_s = time.monotonic()

    def began(self, shard: int, worker: str) -> None:
        """A shard began on a worker, perhaps again after its first worker was lost."""
        if not self._states[shard].has_ended:
            self._states[shard] = _ShardState(worker=worker)

    def reported(self, shard: int, worker: str, counts: Mapping[str, Any]) -> None:
        """A shard under way reported its counts: the fields of a progress line in the log."""
        if not self._states[shard].has_ended:
            self._states[shard] = _ShardState(counts, worker)

    def ended(self, shard: int, counts: Mapping[str, Any] | None) -> None:
        """A shard ended, with the counts of its summary."""
        self._states[shard] = _ShardState(counts or {}, has_ended=True)

    def sample(self, now_s: float) -> None:
        """Record the rows that are done, for the rate (monotonic clock)."""
        self._rate.sample(now_s, self._sum("done"))

    def _sum(self, name: str) -> int:
        return sum(each.count(name) for each in self._states)

    def _left(self) -> int:
        """The rows to work on; of a shard that has reported nothing yet, all of its rows."""
        known = sum(each.count("total") for each in self._states)
        return self._sum("left") + max(0, self._total - known)

    def facts(self) -> dict[str, object]:
        """The fields of a progress line in the log, and of the state for ``status``."""
        left = self._left()
        eta_s = self._rate.eta_s(left)
        return {
            "done": self._sum("done"),
            "total": self._total,
            **{name: self._sum(name) for name in COUNTS},
            "left": left,
            "rate_per_s": round(self._rate.per_s(), 1),
            "eta_s": None if eta_s is None else round(eta_s),
            "shards": len(self._states),
            "shards_ended": sum(each.has_ended for each in self._states),
            "shards_running": sum(each.worker is not None for each in self._states),
        }

    def state(self) -> dict[str, object]:
        """The state for ``status`` from another terminal."""
        return {"run_id": self._run_id, **self.facts(), "waiting_for": []}

    def lines(self, now_s: float) -> list[str]:
        """The lines on a terminal at this moment (monotonic clock); one for each busy worker."""
        self.sample(now_s)
        return [self._amounts(now_s), self._outcomes(), *self._workers()]

    def _amounts(self, now_s: float) -> str:
        done = self._sum("done")
        eta_s = self._rate.eta_s(self._left())
        parts = [
            f"migrating {_percent(done, self._total)}",
            f"{done:,} of {self._total:,}",
            f"{self._rate.per_s():,.1f}/s",
            _duration(now_s - self._began_s),
        ]
        if eta_s is not None:
            parts.append(f"{_duration(eta_s)} left")
        return "  ".join(parts)

    def _outcomes(self) -> str:
        counts = "  ".join(f"{name} {self._sum(name):,}" for name in COUNTS)
        ended = sum(each.has_ended for each in self._states)
        return f"{counts}  {ended} of {plural(len(self._states), 'shard')} done"

    def _workers(self) -> Iterator[str]:
        running = [(s.worker, n, s) for n, s in enumerate(self._states) if s.worker is not None]
        for worker, number, state in sorted(running, key=lambda each: each[:2]):
            shown = (
                _percent(state.count("done"), state.count("total")) if state.counts else "begins"
            )
            rate = float(state.counts.get("rate_per_s") or 0)
            yield f"  worker {worker}: shard {number}/{len(self._states)}  {shown}  {rate:,.1f}/s"


def _percent(done: int, total: int) -> str:
    return f"{100 * done / total if total else 100.0:.1f} %"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
