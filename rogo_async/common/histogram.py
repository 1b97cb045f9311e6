"""A histogram of durations that can be added up without loss (specification §2, ``latency_ms``).

The upper end of each bucket is 2 % above its lower end. A quantile is the middle of its bucket, so
it is within 1 % of a measured duration, and quantiles of added histograms are as exact as those of
one that saw all durations.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

GROWTH: Final = 1.02
_BUCKETS_PER_E: Final = 1 / math.log(GROWTH)
_SHORTEST_S: Final = 1e-9
"""A shorter duration counts as this one. The longest of a week is in bucket 672."""


class Histogram:
    """Counts of durations by bucket; bucket b holds those from 1.02^b to 1.02^(b+1) seconds."""

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: Counter[int] = Counter(buckets or {})
        self.total_s = 0.0

    @property
    def count(self) -> int:
        """The number of durations."""
        return self.buckets.total()

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self.total_s += seconds
        self.buckets[math.floor(math.log(max(seconds, _SHORTEST_S)) * _BUCKETS_PER_E)] += 1

    def merge(self, other: "Histogram") -> None:
        """Add the durations of another histogram."""
        self.total_s += other.total_s
        self.buckets.update(other.buckets)

    def quantile(self, share: float) -> float:
        """The quantile in seconds, such as the median for a ``share`` of 0.5; 0 if empty."""
        rank = min(self.count - 1, int(share * self.count))
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank < 0:
                return float(GROWTH ** (bucket + 0.5))
        return 0.0
