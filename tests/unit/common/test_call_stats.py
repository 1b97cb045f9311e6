"""The statistics of a run, as the summary has them."""

import pytest

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency
from rogo_async.reporting.summary_parts import Latency


def test_latencies_are_measured_by_operation() -> None:
    measured = CallStats()
    for _ in range(3):
        measured.observe(Dependency.TARGET, "insert", 0.0125)
    measured.observe(Dependency.STORE, "put", 2.0)
    assert {name: each.count for name, each in measured.latency.items()} == {
        "target.insert": 3,
        "store.put": 1,
    }
    insert, put = (Latency.of(measured.latency[name]) for name in ("target.insert", "store.put"))
    assert (insert.p50, insert.p95) == pytest.approx((12.5, 12.5), rel=0.01)
    assert put.p50 == pytest.approx(2000, rel=0.01)
    assert sum(insert.buckets.values()) == 3
    assert Latency.model_validate_json(insert.model_dump_json()) == insert
