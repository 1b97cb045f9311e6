"""A run with refresh on a changed data set does exactly what the known answer says."""

import shutil
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.changes.changed_dataset import ChangedDataset, change
from rogo_async.demo.changes.check_refresh import check_refresh
from rogo_async.demo.changes.known_answer import Outcome, Verdict
from rogo_async.demo.changes.load_changes import change_platform, change_source
from rogo_async.demo.changes.snapshot import RULES, TargetSnapshot, read_target
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.cli import CliResult, run_cli, summary, table

ROWS = 200
SEED = 2


@dataclass(frozen=True, slots=True)
class ChangedTarget:
    """A migrated data set after its changes, with the target before a run with refresh."""

    stack: Stack
    workspace: Workspace
    changed: ChangedDataset
    before: TargetSnapshot

    async def command(self, *arguments: str, concurrency: int = 64) -> CliResult:
        """Execute a command with the settings of the workspace."""
        environment = self.stack.environment_of(self.workspace)
        return await run_cli(environment, *arguments, ROGO_CONCURRENCY=str(concurrency))

    async def snapshot(self) -> TargetSnapshot:
        """The target now."""
        return await read_target(self.stack.postgres.dsn(self.workspace.target))


@pytest.fixture(scope="module")
async def migrated_once(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ChangedTarget]:
    """No test changes it; tests copy it, which is faster than a migration."""
    workspace = await stack.new_workspace(uuid.uuid4().hex[:12], tmp_path_factory.mktemp("changed"))
    dataset = generate_for(stack, workspace, ROWS, SEED)
    await load(dataset, stack, workspace)
    ended = await run_cli(stack.environment_of(workspace), "run")
    assert ended.code == ExitCode.SOME_FAILED, ended.output
    changed = change(dataset, SEED)
    await change_source(changed, stack, workspace)
    await change_platform(changed, stack, workspace)
    made = ChangedTarget(stack, workspace, changed, TargetSnapshot({}))
    yield replace(made, before=await made.snapshot())
    await stack.remove_workspace(workspace)


async def copied(original: ChangedTarget, directory: Path) -> ChangedTarget:
    """A copy of target and data directory. Warehouse and containers are shared."""
    name = f"target_{uuid.uuid4().hex[:12]}"
    copy = replace(original.workspace, target=name, data_dir=directory)
    await original.stack.postgres.create_database(name, original.workspace.target)
    shutil.copytree(original.workspace.data_dir, directory)
    made = replace(original, workspace=copy)
    return replace(made, before=await made.snapshot())


@pytest.fixture
async def target(migrated_once: ChangedTarget, tmp_path: Path) -> AsyncIterator[ChangedTarget]:
    """A copy of the changed target, before a run with refresh."""
    made = await copied(migrated_once, tmp_path / "data")
    yield made
    await made.stack.postgres.drop_databases(made.workspace.target)


@pytest.fixture(scope="module")
async def refreshed_once(
    migrated_once: ChangedTarget, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ChangedTarget]:
    """The changed target after ``plan --refresh`` and ``run --refresh``. No test changes it."""
    made = await copied(migrated_once, tmp_path_factory.mktemp("refreshed") / "data")
    for command in ("plan", "run"):
        ended = await made.command(command, "--refresh")
        assert ended.code == ExitCode.SOME_FAILED, ended.output
    yield made
    await made.stack.postgres.drop_databases(made.workspace.target)


@pytest.fixture
async def refreshed(refreshed_once: ChangedTarget, tmp_path: Path) -> AsyncIterator[ChangedTarget]:
    """A copy of the target after the run with refresh; ``before`` is the target before that run."""
    made = await copied(refreshed_once, tmp_path / "data")
    yield replace(made, before=refreshed_once.before)
    await made.stack.postgres.drop_databases(made.workspace.target)


def by_code(changed: ChangedDataset) -> dict[str, int]:
    """The expected ``by_code`` of the summary of a run with refresh."""
    return {str(code): n for code, n in changed.counts().items() if code != Outcome.REFRESHED}


def planned(target: ChangedTarget) -> dict[int, str]:
    """Code or outcome of each migrated attempt in plan.csv; an earlier row of it is a duplicate."""
    migrated = {str(row.attempt): row.attempt for row in target.changed.before.submissions()}
    return {
        migrated[row["Attempt ID"].strip().lstrip("0")]: row["Code"] or row["Outcome"]
        for row in table(target.workspace.data_dir / "plan.csv")
        if row["Attempt ID"].strip().lstrip("0") in migrated
        and row["Code"] not in {"duplicate_row", "row_malformed"}
    }


def predicted(changed: ChangedDataset) -> dict[int, str]:
    """What a plan with refresh must say of each migrated attempt."""
    migrated = {row.attempt for row in changed.before.submissions()}
    names = {Outcome.REFRESHED.value: "refresh"}
    return {
        attempt: names.get(outcome, str(outcome))
        for attempt, outcome in changed.outcomes()
        if attempt in migrated and outcome in {*Outcome}
    }


def texts(snapshot: TargetSnapshot, *, with_rule_times: bool = True) -> Counter[str]:
    """All rows. The times of a malpractice rule are those of its writing."""
    times = () if with_rule_times else ("rule_applied_at", "created_at", "updated_at")
    return Counter(
        str(sorted((k, v) for k, v in orjson.loads(row.text).items() if k not in times))
        if row.table == RULES
        else row.text
        for row in snapshot.rows()
    )


async def test_a_plan_predicts_the_known_answer(refreshed_once: ChangedTarget) -> None:
    assert planned(refreshed_once) == predicted(refreshed_once.changed)


async def test_a_run_does_what_the_known_answer_says(refreshed_once: ChangedTarget) -> None:
    changed = refreshed_once.changed
    found = summary(refreshed_once.workspace.data_dir)
    assert found["refreshed"] == changed.counts()[Outcome.REFRESHED] > 20
    assert found["migrated"] == 0
    assert found["by_code"] == by_code(changed)
    results = check_refresh(changed, refreshed_once.before, await refreshed_once.snapshot())
    assert [each for each in results if not each.ok] == []


@pytest.mark.parametrize("consumers", [1, 5])
async def test_concurrency_does_not_change_the_target(
    target: ChangedTarget, refreshed_once: ChangedTarget, consumers: int
) -> None:
    ended = await target.command("run", "--refresh", concurrency=consumers)
    assert ended.code == ExitCode.SOME_FAILED, ended.output
    found = texts(await target.snapshot(), with_rule_times=False)
    assert found == texts(await refreshed_once.snapshot(), with_rule_times=False)


async def test_a_second_run_refreshes_nothing(refreshed: ChangedTarget) -> None:
    before = await refreshed.snapshot()
    ended = await refreshed.command("run", "--refresh")
    assert ended.code == ExitCode.SOME_FAILED, ended.output
    found = summary(refreshed.workspace.data_dir)
    assert found["refreshed"] == found["migrated"] == 0
    again = by_code(refreshed.changed)
    again["already_migrated"] += refreshed.changed.counts()[Outcome.REFRESHED]
    assert found["by_code"] == again
    assert await refreshed.snapshot() == before


async def test_a_run_without_refresh_changes_nothing(target: ChangedTarget) -> None:
    ended = await target.command("run")
    assert ended.code == ExitCode.SOME_FAILED, ended.output
    found = summary(target.workspace.data_dir)
    assert (found["refreshed"], found["migrated"]) == (0, 0)
    assert found["by_code"].keys().isdisjoint({"changed_on_platform", "files_changed"})
    assert await target.snapshot() == target.before


async def test_a_rollback_of_the_run_puts_the_former_values_back(refreshed: ChangedTarget) -> None:
    run_id = summary(refreshed.workspace.data_dir)["run_id"]
    ended = await refreshed.command("rollback", "--run", run_id, "--yes")
    assert ended.code == ExitCode.DONE, ended.output
    assert texts(await refreshed.snapshot()) == texts(refreshed.before)

    again = await refreshed.command("plan", "--refresh")
    assert again.code == ExitCode.SOME_FAILED, again.output
    assert planned(refreshed) == predicted(refreshed.changed)


def verdicts(data_dir: Path) -> dict[int, set[str]]:
    """The verdicts of ``verify --source`` by attempt."""
    found: dict[int, set[str]] = {}
    for row in table(data_dir / "verification_failures.csv"):
        if row["Verdict"] in {*Verdict, "unexplained"}:
            found.setdefault(int(row["Attempt ID"]), set()).add(row["Verdict"])
    return found


async def test_verify_gives_the_known_verdicts(target: ChangedTarget) -> None:
    await target.command("verify", "--source", "--quick")
    assert verdicts(target.workspace.data_dir) == {
        each.attempt: {*map(str, each.answer.verdicts)}
        for each in target.changed.changed.values()
        if each.answer.verdicts
    }


async def test_verify_gives_no_verdict_on_refreshed_submissions(refreshed: ChangedTarget) -> None:
    await refreshed.command("verify", "--source", "--quick")
    assert verdicts(refreshed.workspace.data_dir) == {
        each.attempt: {*map(str, each.answer.verdicts)}
        for each in refreshed.changed.changed.values()
        if each.answer.verdicts and each.answer.outcome is not Outcome.REFRESHED
    }
