"""What a rollback learns from the journals of all runs and of earlier rollbacks (§5)."""

from pathlib import Path

import orjson
import pytest

from rogo_async.destination.postgres.journal import Journal, Journals, journal_path
from rogo_async.rules.identity import submission_id

RUN, OTHER_RUN = "20260101T000000Z-00000001", "20260102T000000Z-00000002"
ROLLBACK = "20260103T000000Z-00000003"
OURS = submission_id(RUN, 1)


def version(number: int, submission: str | None = None) -> dict[str, object]:
    return {"id": "rule", "attempt_number": number, "submission_id": submission}


def original(attempt: int, number: int) -> bytes:
    return orjson.dumps({"kind": "enforcement", "attempt": attempt, "before": version(number)})


def read(runs: Path, **journals: list[bytes]) -> Journals:
    """The journals of these runs; all lines but the last end with a line break."""
    for run, lines in journals.items():
        journal_path(runs, run).write_bytes(b"\n".join(lines))
    return Journals.read(runs, Journal(journal_path(runs, ROLLBACK)))


def test_a_line_belongs_to_its_run_and_its_attempt(tmp_path: Path) -> None:
    journals = read(
        tmp_path, **{RUN: [original(1, 5), original(2, 6)], OTHER_RUN: [original(1, 7)]}
    )
    expected = {(RUN, 1): 5, (RUN, 2): 6, (OTHER_RUN, 1): 7}
    for (run, attempt), number in expected.items():
        assert journals.original(submission_id(run, attempt), "rule") == version(number)
    assert not journals.has_original(submission_id(OTHER_RUN, 2), "rule")
    assert not journals.has_original(OURS, "another rule")
    assert journals.original(OURS, "another rule") is None


def test_of_the_lines_of_a_repeated_write_the_last_one_counts(tmp_path: Path) -> None:
    """The platform has changed the rule between the two tries."""
    journals = read(tmp_path, **{RUN: [original(1, 5), original(1, 6)]})
    assert journals.original(OURS, "rule") == version(6)


def test_an_incomplete_line_hides_no_other_line(tmp_path: Path) -> None:
    torn = original(1, 6)[:-9]
    journals = read(tmp_path, **{RUN: [torn, original(1, 5), torn], OTHER_RUN: [original(2, 7)]})
    assert journals.original(OURS, "rule") == version(5)
    assert journals.original(submission_id(OTHER_RUN, 2), "rule") == version(7)


@pytest.mark.parametrize("before", [version(3), None])
async def test_what_a_rollback_wrote_is_newer_than_what_the_run_wrote(
    tmp_path: Path, before: dict[str, object] | None
) -> None:
    """Known at once, and to the next rollback."""
    journals = read(tmp_path, **{RUN: [original(1, 5)]})
    await journals.record_replaced(2, version(1, OURS), before)
    for known in (journals, read(tmp_path)):
        assert known.has_original(OURS, "rule")
        assert known.original(OURS, "rule") == before


async def test_only_the_exact_content_is_recognized_as_restored(tmp_path: Path) -> None:
    journals = read(tmp_path)
    restored, replaced = version(1), version(2, OURS)
    await journals.record_restored(4, restored)
    await journals.record_replaced(4, replaced, None)
    for known in (journals, read(tmp_path)):
        for row in (restored, replaced):
            assert known.is_restored(dict(reversed(row.items())))
            assert not known.is_restored({**row, "attempt_number": 9})
