"""Ten refusals in a row are not the rows' fault (SPEC §3 rule 14)."""

from collections import Counter
from typing import Any, cast

from rogo_async.migrate import Forbidden
from rogo_async.refusals import SYSTEMIC_AFTER, RefusalWatch

HOST = "https://files.example:443"


def forbidden(origin: str = HOST) -> Forbidden:
    nothing = cast("Any", None)
    return Forbidden(nothing, nothing, origin, f"{origin}/a", nothing)


def test_the_tenth_in_a_row_brings_all_ten_back() -> None:
    watch = RefusalWatch(Counter())
    rows = [forbidden() for _ in range(SYSTEMIC_AFTER)]
    assert SYSTEMIC_AFTER == 10
    assert [watch.refused(row) for row in rows[:-1]] == [[]] * 9
    assert watch.settled() == []
    assert watch.refused(rows[-1]) == rows
    assert watch.remaining() == []


def test_a_file_served_in_between_settles_those_before_it() -> None:
    served: Counter[str] = Counter()
    watch = RefusalWatch(served)
    before = [forbidden() for _ in range(9)]
    for row in before:
        watch.refused(row)
    served[HOST] += 1
    assert watch.settled() == before
    after = [forbidden() for _ in range(9)]
    assert [watch.refused(row) for row in after] == [[]] * 9
    assert watch.remaining() == after


def test_each_host_has_its_own_run_of_refusals() -> None:
    watch = RefusalWatch(Counter())
    other = "https://other.example:443"
    for _ in range(9):
        assert watch.refused(forbidden()) == []
        assert watch.refused(forbidden(other)) == []
    assert len(watch.refused(forbidden())) == 10
    assert len(watch.remaining()) == 9
