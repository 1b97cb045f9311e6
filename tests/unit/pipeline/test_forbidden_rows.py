"""Rule 14: ten refusals in a row by one host mean wrong credentials, not wrong rows."""

from typing import Any, cast

from yarl import URL

from rogo_async.common.errors import REFUSALS_ARE_SYSTEMIC
from rogo_async.common.urls import AllowList
from rogo_async.pipeline.forbidden_rows import ForbiddenRow, ForbiddenTracker
from rogo_async.sources.host_access import SasAccess
from rogo_async.sources.http_files import SourceHost

FILE = URL("https://files.example/a?sig=x")
NOTHING = cast("Any", None)


def host(name: str = "files.example") -> SourceHost:
    allowed = AllowList(frozenset())
    return SourceHost(
        ("https", name, 443), NOTHING, allowed, SasAccess(), lambda _probe, _name: NOTHING
    )


def refusal(by: SourceHost) -> ForbiddenRow:
    return ForbiddenRow(NOTHING, by.record_refused(FILE, "answered 403"), NOTHING)


def test_rule_14_nine_refusals_are_held_and_the_tenth_returns_all_ten() -> None:
    files, tracker = host(), ForbiddenTracker()
    rows = [refusal(files) for _ in range(9)]
    assert REFUSALS_ARE_SYSTEMIC == 10
    for row in rows:
        tracker.hold(row)
        assert tracker.take_systemic() == tracker.take_failed() == []
    rows.append(refusal(files))
    tracker.hold(rows[-1])
    assert tracker.take_systemic() == rows
    assert not tracker
    assert tracker.take_all() == []


def test_rule_14_refusals_are_counted_not_rows() -> None:
    """Five rows with two refused files each make ten refusals."""
    files, tracker = host(), ForbiddenTracker()
    rows = []
    for _ in range(5):
        files.record_refused(FILE, "answered 401")
        rows.append(refusal(files))
    for row in rows:
        tracker.hold(row)
        assert tracker.take_systemic() == [row]


def test_rule_14_rows_of_a_streak_of_ten_are_retried_even_when_the_host_recovers() -> None:
    files, tracker = host(), ForbiddenTracker()
    rows = [refusal(files) for _ in range(14)]
    files.record_served(FILE)
    for row in rows:
        tracker.hold(row)
        assert tracker.take_systemic() == [row]
    assert tracker.take_all() == []


def test_rule_14_rows_held_when_their_streak_reaches_ten_never_fail() -> None:
    """The other refusals of the streak may belong to rows that are still in progress."""
    files, tracker = host(), ForbiddenTracker()
    held = refusal(files)
    tracker.hold(held)
    for _ in range(9):
        files.record_refused(FILE, "answered 403")
    files.record_served(FILE)
    assert tracker.take_systemic() == [held]
    assert tracker.take_failed() == []


def test_rule_14_a_served_file_fails_the_rows_before_it_and_starts_a_new_streak() -> None:
    files, tracker = host(), ForbiddenTracker()
    before = [refusal(files) for _ in range(9)]
    for row in before:
        tracker.hold(row)
    files.record_served(FILE)
    assert tracker.take_systemic() == []
    assert tracker.take_failed() == before
    after = [refusal(files) for _ in range(9)]
    for row in after:
        tracker.hold(row)
        assert tracker.take_systemic() == tracker.take_failed() == []
    assert tracker.take_all() == after


def test_rule_14_each_host_has_its_own_streak() -> None:
    files, others, tracker = host(), host("other.example"), ForbiddenTracker()
    for _ in range(9):
        tracker.hold(refusal(files))
        tracker.hold(refusal(others))
        assert tracker.take_systemic() == []
    tracker.hold(refusal(files))
    tenth = tracker.take_systemic()
    assert len(tenth) == 10
    assert {row.error.origin for row in tenth} == {"https://files.example:443"}
    assert len(tracker.take_all()) == 9
