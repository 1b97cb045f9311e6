"""``run --until``: the earlier of two ends counts (specification §5)."""

from datetime import UTC, datetime, timedelta

import pytest

from rogo_async.commands.run import ending_at
from rogo_async.common.settings import Settings

HOUR_S = 3_600.0


@pytest.mark.parametrize(
    ("limit_s", "low_s", "high_s"),
    [(None, HOUR_S, 3 * HOUR_S), (60.0, 60.0, 60.0), (40 * HOUR_S, HOUR_S, 3 * HOUR_S)],
)
def test_the_earlier_end_counts(limit_s: float | None, low_s: float, high_s: float) -> None:
    settings = Settings.model_construct(rogo_max_duration=limit_s)
    in_two_hours = (datetime.now(UTC).astimezone() + timedelta(hours=2)).time()
    window_s = ending_at(in_two_hours, settings).rogo_max_duration
    assert window_s is not None
    assert low_s <= window_s <= high_s
    assert ending_at(None, settings).rogo_max_duration == limit_s
