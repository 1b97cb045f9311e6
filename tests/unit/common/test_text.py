"""Counts and sizes in messages to the operator."""

import pytest

from rogo_async.common.text import plural, size_shown


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (2000, "2,000 rows")]
)
def test_one_has_no_s(count: int, text: str) -> None:
    assert plural(count, "row") == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1_023, "1,023 bytes"),
        (1_024, "1.0 kB"),
        (104_857, "102.4 kB"),
        (104_858, "0.1 MB"),
        (1_258_291, "1.2 MB"),
        (5_000 * 1_048_576, "5,000.0 MB"),
    ],
)
def test_a_small_size_is_not_zero(size_bytes: int, text: str) -> None:
    assert size_shown(size_bytes) == text
