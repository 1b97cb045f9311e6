"""The rate of the last 30 seconds, for every progress display and the metrics."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 30.0


@dataclass(slots=True)
class Rate:
    """Units per second in the last 30 seconds; since the first sample before that."""

    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def sample(self, now_s: float, count: int) -> None:
        """Record the count at this moment (monotonic clock)."""
        samples = self._samples
        samples.append((now_s, count))
        # The oldest sample stays until the next one is 30 s old: samples may be further apart.
        while len(samples) > 2 and now_s - samples[1][0] >= WINDOW_S:
            samples.popleft()

    def per_s(self) -> float:
        """Units per second; 0 before the second sample."""
        if len(self._samples) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return max(0, last - first) / max(last_s - first_s, 1e-3)

    def eta_s(self, left: int) -> float | None:
        """Seconds until ``left`` units are done; None while nothing is done."""
        rate = self.per_s()
        return max(0, left) / rate if rate else None
