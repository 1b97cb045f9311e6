"""A rollback reads journals of refreshes that are larger than its memory (specification §5)."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rogo_async.destination.postgres.journal import Journal, Journals, journal_path
from rogo_async.destination.postgres.refresh_rollback import Refreshes

RUN, ROLLBACK = "20260101T000000Z-00000001", "20260102T000000Z-00000002"
SUBMISSIONS = 200
NOTE = "x" * 20_000
MOST_BYTES = 500_000
"""A tenth of the journal."""


@contextmanager
def in_bounded_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


async def record(journals: Journals, attempt: int, note: str) -> None:
    await journals.record_refresh(
        {
            "attempt": attempt,
            "launch_id": f"rogo_{attempt}_0",
            "submission": "00000000-0000-0000-0000-000000000001",
            "before": {"submission_grades": [{"id": "grade", "overall_summary": note}]},
            "after": {"submission_grades": [{"id": "grade", "overall_summary": "new"}]},
            "rules_before": {},
            "rules_after": {},
        }
    )


async def test_memory_does_not_grow_with_the_rows_of_a_journal(tmp_path: Path) -> None:
    path = journal_path(tmp_path, RUN)
    journals = Journals.read(tmp_path, Journal(path))
    await record(journals, 1, NOTE)
    line = path.read_bytes()
    numbered = (line.replace(b":1,", b":%d," % n, 1) for n in range(2, SUBMISSIONS + 1))
    path.write_bytes(b"".join([line, *numbered]))
    await record(journals, 7, "of the retry")
    assert path.stat().st_size > 8 * MOST_BYTES

    with in_bounded_memory():
        read = Journals.read(tmp_path, Journal(journal_path(tmp_path, ROLLBACK)))
    assert not read.is_restored({"id": "rule"})
    with in_bounded_memory():
        refreshes = Refreshes.read(path)
        found = [(refresh.attempt, _note(refresh.before)) for refresh in refreshes]
    assert len(refreshes) == SUBMISSIONS
    assert found == [
        (7, "of"),
        *((attempt, "xx") for attempt in range(SUBMISSIONS, 0, -1) if attempt != 7),
    ]


def _note(rows: object) -> str:
    assert isinstance(rows, dict)
    return str(rows["submission_grades"][0]["overall_summary"])[:2]
