"""Several refreshes of a submission by one run are undone together (specification §5)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from rogo_async.destination.postgres.refresh_rollback import Refresh, Refreshes

Rules = dict[str, str]
NONE: Rules = {}


def found(path: Path, *lines: tuple[str, str, Rules, Rules]) -> Refresh:
    """The refresh in a journal with these lines: rows and rules, before and after."""
    entries = [
        {
            "kind": "refresh",
            "attempt": 1,
            "launch_id": "rogo_1_0",
            "submission": "s",
            "before": rows(before),
            "after": rows(after),
            "rules_before": rules(rules_before),
            "rules_after": rules(rules_after),
        }
        for before, after, rules_before, rules_after in lines
    ]
    journal = path / "x.journal.jsonl"
    journal.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in entries))
    refreshes = Refreshes.read(journal)
    assert len(refreshes) == 1
    (refresh,) = refreshes
    return refresh


def rows(value: str) -> dict[str, Any]:
    """In any order: the target does not state one."""
    marks = [{"id": "a", "mark": value}, {"id": "b", "mark": 0}]
    return {"submission_section_marks": marks if value < "v2" else marks[::-1]}


def rules(contents: Rules) -> dict[str, Any]:
    return {key: {"id": key, "level": level} for key, level in contents.items()}


@pytest.mark.parametrize(
    ("steps", "before", "after", "earlier"),
    [
        (["v0 v1"], "v0", "v1", []),
        (["v0 v1", "v1 v2"], "v0", "v2", ["v1"]),
        (["v0 v1", "v1 v2", "v2 v3"], "v0", "v3", ["v2", "v1"]),
        (["v0 lost", "v0 v1"], "v0", "v1", []),
        (["v0 v1", "v1 lost", "v1 v2"], "v0", "v2", ["v1"]),
        (["v0 v1", "platform v2"], "platform", "v2", []),
    ],
)
def test_the_rows_are_those_before_the_first_try(
    tmp_path: Path, steps: Sequence[str], before: str, after: str, earlier: Sequence[str]
) -> None:
    pairs = [each.split() for each in steps]
    refresh = found(tmp_path, *((old, new, NONE, NONE) for old, new in pairs))
    by_mark = [
        {row["id"]: row["mark"] for row in each["submission_section_marks"]}["a"]
        for each in (refresh.before, refresh.after, *(e.after for e in refresh.earlier))
    ]
    assert by_mark == [before, after, *earlier]
    assert all(each.before == refresh.before for each in refresh.earlier)
    assert not any(each.earlier for each in refresh.earlier)


def test_rules_are_those_before_the_first_and_after_the_last_try(tmp_path: Path) -> None:
    first: tuple[Rules, Rules] = (
        {"gone": "1", "kept": "1", "changed": "1"},
        {"kept": "2", "changed": "2", "passing": "2"},
    )
    second: tuple[Rules, Rules] = (
        {"changed": "2", "passing": "2", "other": "1"},
        {"changed": "3", "new": "3"},
    )
    refresh = found(tmp_path, ("v0", "v1", *first), ("v1", "v2", *second))
    assert refresh.rules_before == rules({"gone": "1", "kept": "1", "changed": "1", "other": "1"})
    assert refresh.rules_after == rules({"kept": "2", "changed": "3", "new": "3"})
