"""Which row belongs to which shard never changes (specification §7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.shard import Shard, shard_index


@pytest.mark.parametrize(
    ("attempt", "line", "of_10", "of_7"),
    [(1, 2, 2, 5), (7, 3, 1, 0), (104_711, 4, 8, 2), (2_147_483_647, 5, 1, 4)],
)
def test_the_shard_of_an_attempt(attempt: int, line: int, of_10: int, of_7: int) -> None:
    assert shard_index(attempt, line, 10) == of_10
    assert shard_index(attempt, line + 1_000, 7) == of_7


@pytest.mark.parametrize(("line", "of_10"), [(2, 3), (3, 7), (1_000_001, 3)])
def test_the_shard_of_a_row_without_a_valid_attempt_id(line: int, of_10: int) -> None:
    assert shard_index(None, line, 10) == of_10


@given(st.one_of(st.none(), st.integers(1, 2**31 - 1)), st.integers(2, 10**9), st.integers(1, 99))
def test_each_row_belongs_to_exactly_one_shard(attempt: int | None, line: int, count: int) -> None:
    owners = [index for index in range(count) if Shard(index, count).owns(attempt, line)]
    assert owners == [shard_index(attempt, line, count)]


def test_shards_of_consecutive_attempts_are_of_about_equal_size() -> None:
    sizes = [sum(Shard(i, 10).owns(attempt, 0) for attempt in range(20_000)) for i in range(10)]
    assert min(sizes) > 1_800
    assert max(sizes) < 2_200


@pytest.mark.parametrize("text", ["3/10", " 3/10 ", "003/10"])
def test_a_shard_is_read_from_text(text: str) -> None:
    shard = Shard.parse(text)
    assert (shard.index, shard.count, str(shard), shard.directory) == (3, 10, "3/10", "3-of-10")


@pytest.mark.parametrize(
    "text", ["", "3", "10/10", "-1/10", "0/0", "a/b", "1/2/3", "0/10001", "٣/9"]
)
def test_other_texts_are_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be i/n with 0 <= i < n"):
        Shard.parse(text)
