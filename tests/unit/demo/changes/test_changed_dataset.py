"""The changes are reproducible, every one occurs, and nothing else differs."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import pytest

from rogo_async.demo.changes.changed_dataset import CHANGES, ChangedDataset, change
from rogo_async.demo.changes.known_answer import Outcome, Verdict
from rogo_async.demo.changes.platform_changes import Touched
from rogo_async.demo.dataset.dataset import Dataset, generate
from rogo_async.rules.records import Status

AZURE = "http://127.0.0.1:1234/account/rogo-source"
SCRIPTED = "http://127.0.0.1:5678"
ROWS = 200


@lru_cache(maxsize=4)
def changed_data_set(rows: int, seed: int) -> ChangedDataset:
    return change(generate(rows, seed, AZURE, SCRIPTED), seed)


def lines_of(text: Iterator[str]) -> list[tuple[str, ...]]:
    cells = csv.reader(io.StringIO("".join(text).removeprefix("\ufeff"), newline=""))
    return [tuple(row) for row in cells if row]


def contents(dataset: Dataset) -> tuple[object, ...]:
    return (
        "".join(dataset.submission_csv()),
        list(dataset.reports()),
        list(dataset.scores()),
        dataset.expected_malpractice_rules,
    )


def test_the_same_seed_gives_the_same_changes() -> None:
    dataset = generate(ROWS, 5, AZURE, SCRIPTED)
    one, two, other = change(dataset, 5), change(dataset, 5), change(dataset, 6)
    assert contents(one.after) == contents(two.after) != contents(other.after)
    assert list(one.outcomes()) == list(two.outcomes())


def test_the_data_set_before_is_not_changed() -> None:
    dataset, fresh = (generate(ROWS, 5, AZURE, SCRIPTED) for _ in range(2))
    change(dataset, 5)
    assert contents(dataset) == contents(fresh)


@pytest.mark.parametrize(("rows", "seed"), [(150, 1), (ROWS, 7), (2_000, 7)])
def test_every_change_occurs(rows: int, seed: int) -> None:
    changed = changed_data_set(rows, seed)
    applied = Counter(id(each.change) for each in changed.changed.values())
    assert {id(each) for each in CHANGES} == applied.keys()
    answers = [each.answer for each in changed.changed.values()]
    assert {answer.outcome for answer in answers} == {*Outcome}
    assert {verdict for answer in answers for verdict in answer.verdicts} == {*Verdict}


@pytest.mark.parametrize("rows", [1, 2, 19, 60])
def test_a_small_data_set_has_the_first_changes(rows: int) -> None:
    changed = change(generate(rows, 7, AZURE, SCRIPTED), 7)
    assert changed.changed
    assert changed.counts().total() == len(changed.after.expected)


def test_only_migrated_submissions_change() -> None:
    changed = changed_data_set(ROWS, 7)
    before, after = changed.before, changed.after
    gone = Counter(lines_of(before.submission_csv())) - Counter(lines_of(after.submission_csv()))
    added = Counter(lines_of(after.submission_csv())) - Counter(lines_of(before.submission_csv()))
    attempts = {int(row[4]) for row in (*gone, *added)}
    for read in (Dataset.reports, Dataset.scores):
        old, new = (Counter(str(row) for row in read(each)) for each in (before, after))
        attempts |= {
            int(str(row["AttemptId"]))
            for each in (before, after)
            for row in read(each)
            if old[str(row)] != new[str(row)]
        }
    with_source = {
        each.attempt for each in changed.changed.values() if each.change.source is not None
    }
    assert attempts == with_source
    migrated = {row.attempt for row in before.expected if row.status is Status.MIGRATED}
    assert changed.changed.keys() <= migrated


def test_each_row_has_an_outcome_and_only_gone_rows_have_none() -> None:
    changed = changed_data_set(ROWS, 7)
    rows = Counter(row.attempt for row in changed.before.expected)
    outcomes = list(changed.outcomes())
    gone = rows - Counter(attempt for attempt, _ in outcomes)
    assert set(gone) == {
        each.attempt
        for each in changed.changed.values()
        if each.change.source is not None and each.change.source.row_gone
    }
    assert Status.FAILED.value not in dict(outcomes).values()
    failed = {row.code for row in changed.before.expected if row.status is Status.FAILED}
    assert {str(code) for code in failed} == {
        outcome for _, outcome in outcomes if outcome not in {*Outcome}
    } - {"version_excluded", "duplicate_row"}


def test_an_appeal_changes_the_rule_of_its_submission_and_nothing_else_of_its_key() -> None:
    changed = changed_data_set(2_000, 7)
    appeals = [
        each
        for each in changed.changed.values()
        if each.change.platform and each.change.platform.touched is Touched.ITS_RULE
    ]
    assert len(appeals) > 2
    for appeal in appeals:
        key = appeal.before.malpractice_key
        (rule,) = changed.before.expected_malpractice_rules[key]
        assert rule.attempt == appeal.attempt
        others = [e for e in changed.changed.values() if e.before.malpractice_key == key]
        assert others == [appeal]


def test_malpractice_rules_of_several_submissions_change() -> None:
    """A rule is deleted, goes to another submission, or gets back what the platform entered."""
    changed = changed_data_set(2_000, 7)
    before, after = (each.expected_malpractice_rules for each in (changed.before, changed.after))
    new_owners = {
        (bool(rules), after[key][0].attempt is not None, bool(after[key][0].row_id))
        if key in after
        else None
        for key, rules in before.items()
        if [rule.attempt for rule in rules] != [rule.attempt for rule in after.get(key, ())]
    }
    assert {None, (True, True, False), (True, False, True)} <= new_owners
    assert after.keys() - before.keys()
