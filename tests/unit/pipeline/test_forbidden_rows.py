"""Ten refusals in a row are not the rows' fault (SPEC §3 rule 14)."""

from typing import Any, cast

from yarl import URL

from rogo_async.pipeline.forbidden_rows import ForbiddenTracker
from rogo_async.pipeline.migrate import ForbiddenRow
from rogo_async.sources.http_files import SYSTEMIC_AFTER, Host

ORIGIN = "https://files.example:443"
FILE = URL("https://files.example/a?sig=x")
NOTHING = cast("Any", None)


def host() -> Host:
    return Host(NOTHING)


def refusal(by: Host) -> ForbiddenRow:
    return ForbiddenRow(NOTHING, NOTHING, by.refuse(FILE, 403), NOTHING)


def test_the_tenth_in_a_row_brings_all_ten_back() -> None:
    files = host()
    watch = ForbiddenTracker({ORIGIN: files})
    rows = [refusal(files) for _ in range(9)]
    assert SYSTEMIC_AFTER == 10
    assert [watch.refused(row) for row in rows] == [[]] * 9
    assert watch.settled() == []
    rows.append(refusal(files))
    assert watch.refused(rows[-1]) == rows
    assert watch.remaining() == []


def test_refusals_are_counted_not_rows() -> None:
    files = host()
    watch = ForbiddenTracker({ORIGIN: files})
    rows = []
    for _ in range(5):
        files.refuse(FILE, 401)
        rows.append(refusal(files))
    assert [watch.refused(row) for row in rows[:-1]] == [rows[:1], *([each] for each in rows[1:4])]
    assert watch.refused(rows[-1]) == rows[-1:]


def test_a_row_of_a_long_run_is_tried_again_even_when_the_host_serves_by_then() -> None:
    files = host()
    watch = ForbiddenTracker({ORIGIN: files})
    rows = [refusal(files) for _ in range(14)]
    files.serve(FILE)
    assert [watch.refused(row) for row in rows] == [[row] for row in rows]
    assert watch.remaining() == []


def test_a_file_served_in_between_settles_those_before_it() -> None:
    files = host()
    watch = ForbiddenTracker({ORIGIN: files})
    before = [refusal(files) for _ in range(9)]
    for row in before:
        watch.refused(row)
    files.serve(FILE)
    assert watch.settled() == before
    after = [refusal(files) for _ in range(9)]
    assert [watch.refused(row) for row in after] == [[]] * 9
    assert watch.remaining() == after


def test_each_host_has_its_own_run_of_refusals() -> None:
    files, others = host(), host()
    other_file = URL("https://other.example/a")
    watch = ForbiddenTracker({ORIGIN: files, "https://other.example:443": others})
    for _ in range(9):
        assert watch.refused(refusal(files)) == []
        other = ForbiddenRow(NOTHING, NOTHING, others.refuse(other_file, 403), NOTHING)
        assert watch.refused(other) == []
    assert len(watch.refused(refusal(files))) == 10
    assert len(watch.remaining()) == 9
