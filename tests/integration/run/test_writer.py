"""Each result of a write on a real target, with no run around it (rules 13 and 15).

The writer has one connection, which a failed write must leave usable for the next one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from yarl import URL

from rogo_async.common.errors import (
    AmbiguousError,
    Dependency,
    FailureCode,
    RowError,
    RunStopped,
    SetupError,
    SystemicError,
    TransientError,
)
from rogo_async.common.retry import RetryPolicy
from rogo_async.common.shutdown import StopReason
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.connections import boot_time_s
from rogo_async.destination.postgres.writer import StoredFiles, WriteResult
from rogo_async.rules.identity import identify
from rogo_async.rules.records import (
    Assessment,
    FileKind,
    FileRef,
    Identity,
    PreparedSubmission,
    SectionMark,
    StoredFile,
)
from tests.chaos.dropped_replies import DroppedReplies, Reply, only_first
from tests.support.builders import REFERENCE, TABLES, Scenario
from tests.support.target_sessions import until_waiting
from tests.support.tcp_proxy import TcpProxy
from tests.support.writing import LMS, Finding, WriterParts, open_parts, prepared
from tests.unit.rules.builders import a_score

POLICY: Final = RetryPolicy(wait_initial_s=0.01, deadline_s=0.0, jitter_s=0.0, refused_s=0.0)
"""Repeats soon. A refusal by the target in every submission ends the run at once."""

NOTHING: Final = dict.fromkeys(TABLES, 0)
CONFLICT: Final = "{}: a unique or foreign key rejects the row ({})"
DROPPED: Final = (
    "{}: the target stored 0 of 1 rows and reported no error. "
    "Ask the platform team for the trigger, rule or policy that drops rows of this table"
)
TIMES: Final = ("rule_applied_at", "created_at", "updated_at")


def with_rule(
    attempt: int, number: int = 2, level: str = "severe", learner: str = "one"
) -> PreparedSubmission:
    mark = SectionMark("section-5-1", a_score())
    return replace(prepared(Finding(attempt, number, level), learner), marks=(mark,))


def plain(attempt: int) -> PreparedSubmission:
    return replace(with_rule(attempt), malpractice=None)


def ours(attempt: int) -> Identity:
    return identify(attempt, "run", LMS.instance_id)


def files(*renewals: bool, hold: int = 1) -> StoredFiles:
    """One file; the results of the renewals of its blob, of which there must be no more."""
    left = list(renewals)

    async def renew() -> bool:
        return left.pop(0)

    url = URL("https://source.example/essay.docx")
    ref = FileRef(FileKind.SUBMISSION, 1, "essay.docx", "docx", "application/msword", url)
    stored = StoredFile(ref, "name", "https://store.example/name", 1, b"")
    return StoredFiles([stored], hold, renew)


@dataclass(frozen=True, slots=True)
class Ground:
    """A writer whose target is behind a proxy that drops replies."""

    scenario: Scenario
    parts: WriterParts
    drops: DroppedReplies
    journal: Path

    async def write(
        self,
        submission: PreparedSubmission,
        identity: Identity | None = None,
        stored: StoredFiles | None = None,
    ) -> WriteResult:
        async with asyncio.timeout(30):
            return await self.parts.writer.write(
                submission, stored or files(), identity or ours(submission.attempt)
            )

    async def refusal(self, submission: PreparedSubmission) -> tuple[FailureCode, str]:
        """Code and message of a submission that fails."""
        with pytest.raises(RowError) as raised:
            await self.write(submission)
        return raised.value.code, raised.value.message

    async def execute(self, sql: str, *arguments: object) -> None:
        async with self.scenario.target() as target:
            await target.execute(sql, *arguments)

    async def counts(self) -> dict[str, int]:
        """The number of rows by table."""
        async with self.scenario.target() as target:
            selected = ", ".join(f'(SELECT count(*) FROM "{name}") AS "{name}"' for name in TABLES)
            (found,) = await target.fetch(f"SELECT {selected}")
            return dict(found)

    async def rules(self, learner: str) -> dict[str, dict[str, Any]]:
        """The malpractice rules of a learner by id."""
        rows = await self.scenario.rows("malpractice_enforcements")
        return {row["id"]: row for row in rows if row["lms_user_id"] == f"inst::{learner}"}


@contextmanager
def unhandled_errors() -> Iterator[list[str]]:
    """Messages of the event loop. Its pool reports a transaction that was left open."""
    loop, errors = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: errors.append(context["message"]))
    try:
        yield errors
    finally:
        loop.set_exception_handler(None)


@pytest.fixture
async def ground(stack: Stack, workspace: Workspace, tmp_path: Path) -> AsyncIterator[Ground]:
    scenario = Scenario(stack, workspace)
    await scenario.load([], REFERENCE)
    port, journal = stack.postgres.port, tmp_path / "journal"
    store, drops = TcpProxy("127.0.0.1", 0), DroppedReplies(lambda _: False)
    async with TcpProxy("127.0.0.1", port) as target:
        drops.watch(store, target)
        dsn = stack.writer_dsn(workspace).replace(f":{port}/", f":{target.port}/")
        async with open_parts(dsn, journal, 1, POLICY) as parts:
            with unhandled_errors() as errors:
                yield Ground(scenario, parts, drops, journal)
            assert errors == []


async def test_a_submission_is_written_once_whoever_writes_it(ground: Ground) -> None:
    writer, theirs = ground.parts.writer, identify(1, "another run", LMS.instance_id)
    assert not await writer.is_written(ours(1))
    assert await ground.write(plain(1)) is WriteResult.INSERTED
    counts = await ground.counts()
    assert counts == {**dict.fromkeys(TABLES, 1), "malpractice_enforcements": 0}
    (file,) = await ground.scenario.rows("submission_files")
    assert (file["submission_id"], file["azure_container_name"], file["azure_blob_name"]) == (
        ours(1).submission_id,
        "container",
        "name",
    )
    for again in (plain(1), with_rule(1)):
        assert await ground.write(again) is WriteResult.INSERTED
        assert await ground.write(again, theirs) is WriteResult.ALREADY_EXISTS
    assert await writer.is_written(ours(1))
    assert not await writer.is_written(theirs)
    assert await ground.counts() == counts
    assert set(ground.parts.call_stats.latency) == {"target.insert", "target.standing"}
    assert not ground.parts.call_stats.retries


async def test_rows_without_a_submission_are_incomplete_and_stay_as_they_are(
    ground: Ground,
) -> None:
    for attempt, submission in ((1, plain(1)), (2, with_rule(2))):
        await launch_row(ground, attempt)
        assert await ground.write(submission) is WriteResult.INCOMPLETE
    for attempt, submission in ((3, plain(3)), (4, with_rule(4))):
        await ground.execute(
            "INSERT INTO lti_session_records (id, launch_id, session_expiry) "
            "VALUES ($1::text, $1::text, now())",
            ours(attempt).launch_id,
        )
        assert await ground.write(submission) is WriteResult.INCOMPLETE
    assert await ground.counts() == NOTHING | {"lti_launch_sessions": 2, "lti_session_records": 2}
    assert not await ground.parts.writer.is_written(ours(1))


async def launch_row(ground: Ground, attempt: int) -> None:
    await ground.execute(
        "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
        "VALUES ($1, 'another', now())",
        ours(attempt).launch_id,
    )


async def test_a_submission_that_the_target_rejects_leaves_no_row_and_says_why(
    ground: Ground,
) -> None:
    unknown = replace(plain(1), assessment=Assessment("gone", "name", "5AB01", is_active=True))
    assert await ground.refusal(unknown) == (
        FailureCode.TARGET_CONFLICT,
        CONFLICT.format("submission_grades", "submission_grades_assessment_id_fkey"),
    )
    for submission in (plain(1), with_rule(1)):
        with_nul = replace(submission, row=replace(submission.row, course_title="a\0b"))
        assert await ground.refusal(with_nul) == (
            FailureCode.TARGET_REFUSED,
            "the target rejected the content (SQLSTATE 22021, CharacterNotInRepertoireError)",
        )
    assert not ground.parts.call_stats.latency, "a definite refusal needs no further question"
    await drop_rows(ground, "submission_files", "NEW.file_name = 'essay.docx'")
    assert await ground.refusal(plain(1)) == (
        FailureCode.TARGET_REFUSED,
        DROPPED.format("submission_files"),
    )
    await ground.execute("DROP TRIGGER drop_rows ON submission_files")
    await ground.execute("DELETE FROM users WHERE id = 'user-first'")
    assert await ground.refusal(with_rule(1)) == (
        FailureCode.TARGET_CONFLICT,
        CONFLICT.format(
            "malpractice_enforcements", "malpractice_enforcements_rule_applied_by_fkey"
        ),
    )
    assert await ground.counts() == NOTHING
    assert await ground.write(plain(1)) is WriteResult.INSERTED


async def drop_rows(ground: Ground, table: str, condition: str) -> None:
    await ground.execute(
        "CREATE OR REPLACE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN NULL; END $$;"
        f"CREATE TRIGGER drop_rows BEFORE INSERT OR UPDATE ON {table} "
        f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION drop_row()"
    )


async def test_a_submission_whose_malpractice_rule_is_dropped_is_not_written(
    ground: Ground,
) -> None:
    """Neither a new rule nor one that replaces a rule of the platform."""
    await ground.execute(
        "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, context_id, "
        "malpractice_level_id, attempt_number, rule_applied_by) "
        "VALUES ('inst::two', '5AB01', 'inst::81', 'level-minor', 1, 'user-late')"
    )
    await drop_rows(ground, "malpractice_enforcements", "NEW.lms_user_id <> 'inst::rogo_check'")
    for attempt, learner in enumerate(("one", "two"), 1):
        assert await ground.refusal(with_rule(attempt, learner=learner)) == (
            FailureCode.TARGET_REFUSED,
            DROPPED.format("malpractice_enforcements"),
        )
    assert await ground.counts() == NOTHING | {"malpractice_enforcements": 1}


async def test_a_refused_statement_is_repeated_once(ground: Ground) -> None:
    """The first attempt is refused once, as while a table is replaced; the second one always."""
    await ground.execute(
        "CREATE SEQUENCE tries; GRANT USAGE ON SEQUENCE tries TO rogo_writer;"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        r"IF NEW.launch_id LIKE 'rogo\_1\_%' THEN "
        "  IF nextval('tries') > 1 THEN RETURN NEW; END IF;"
        r"ELSIF NEW.launch_id NOT LIKE 'rogo\_2\_%' THEN RETURN NEW; END IF;"
        "RAISE EXCEPTION 'no' USING ERRCODE = 'QX001'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON lti_launch_sessions "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    assert await ground.write(plain(1)) is WriteResult.INSERTED
    assert ground.parts.call_stats.retries == {"target.insert": 1}
    assert await ground.refusal(plain(2)) == (
        FailureCode.TARGET_REFUSED,
        "the target refused the rows (SQLSTATE QX001)",
    )
    assert ground.parts.call_stats.retries == {"target.insert": 2}
    assert await ground.scenario.attempts() == [1]


async def test_what_the_target_refuses_in_every_submission_fails_no_row(ground: Ground) -> None:
    writer, stop_signal = ground.parts.writer, ground.parts.stop_signal
    await ground.execute("ALTER TABLE submission_files ALTER azure_container_name SET NOT NULL")
    await writer.verify_target()
    await ground.execute("REVOKE INSERT ON malpractice_enforcements FROM rogo_writer")
    text = (
        "target: test submission rejected (SQLSTATE 42501, InsufficientPrivilegeError): "
        "permission denied for table malpractice_enforcements. Grant the user in DATABASE_URL "
        "its permissions on whole tables, and compare the platform's schema with the one that "
        "this version expects"
    )
    with pytest.raises(SetupError) as raised:
        await writer.verify_target()
    assert raised.value.problems == (text,)
    with pytest.raises(RunStopped):
        await ground.write(with_rule(1))
    assert stop_signal.reasons == {StopReason.OUTAGE: text}
    assert await ground.counts() == NOTHING


@pytest.mark.parametrize(
    ("winner", "result"),
    [
        ("", WriteResult.INCOMPLETE),
        ("theirs", WriteResult.ALREADY_EXISTS),
        (ours(1).submission_id, WriteResult.INSERTED),
    ],
)
async def test_an_insert_that_waits_for_another_writer_finds_its_rows(
    ground: Ground, winner: str, result: WriteResult
) -> None:
    """To the statement, which does not see the new launch id, it looks as if rows were dropped."""
    for submission in (plain(1), with_rule(1)):
        await ground.execute("DELETE FROM assignment_submissions; DELETE FROM lti_launch_sessions")
        async with ground.scenario.target() as other, other.transaction():
            await other.execute(
                "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
                "VALUES ($1, 'another', now())",
                ours(1).launch_id,
            )
            if winner:
                await other.execute(
                    "INSERT INTO assignment_submissions (id, lti_launch_id) VALUES ($1, $2)",
                    winner,
                    ours(1).launch_id,
                )
            writing = asyncio.create_task(ground.write(submission), name="writing")
            await until_waiting(ground.scenario, 1)
        assert await writing is result
        found = {"lti_launch_sessions": 1, "assignment_submissions": int(bool(winner))}
        assert await ground.counts() == NOTHING | found


async def test_the_highest_ranking_malpractice_rule_of_a_key_remains(ground: Ground) -> None:
    """It is recorded before it changes: ``rollback`` needs its former content."""
    before: dict[str, Any] = {}
    journal: list[object] = []
    for attempt, number, level, wins in (
        (20, 2, "considerable", True),
        (21, 3, "considerable", True),
        (22, 3, "severe", True),
        (19, 3, "severe", True),
        (23, 3, "severe", False),
        (24, 2, "severe", False),
    ):
        assert await ground.write(with_rule(attempt, number, level)) is WriteResult.INSERTED
        ((name, row),) = (await ground.rules("one")).items()
        if wins:
            if before:
                assert (name, row["created_at"]) == (before["id"], before["created_at"])
                assert row["updated_at"] == row["rule_applied_at"] > before["updated_at"]
                journal.append((attempt, ours(attempt).submission_id, without_times(before)))
            before = row
            assert without_times(row) == {
                "id": name,
                "lms_user_id": "inst::one",
                "custom_assessment_code": "5AB01",
                "context_id": "inst::81",
                "context_title": "5AB01 Working",
                "malpractice_level_id": f"level-{level}",
                "submission_id": ours(attempt).submission_id,
                "attempt_number": number,
                "enforced_max_attempts": {2: 3, 3: 4}[number] if level == "considerable" else 3,
                "rule_applied_by": "user-first",
            }
        assert row == before
    lines = [orjson.loads(line) for line in ground.journal.read_bytes().splitlines()]
    assert {line["kind"] for line in lines} == {"enforcement"}
    assert journal == [
        (line["attempt"], line["submission"], without_times(line["before"])) for line in lines
    ]


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMES}


async def test_the_lock_is_verified_before_each_insert(ground: Ground) -> None:
    """For the session that inserts: it may be on another server than the lock."""
    lock = ground.parts.lock
    for submission in (plain(1), with_rule(2)):
        assert await ground.write(submission) is WriteResult.INSERTED
        assert lock.asked == [ground.parts.connections.newest_s]
        assert lock.asked[0] > 0
        lock.asked.clear()
    counts = await ground.counts()
    lock.error = RunStopped()
    for submission in (plain(3), with_rule(4)):
        with pytest.raises(RunStopped):
            await ground.write(submission)
    assert await ground.counts() == counts


async def test_blobs_are_renewed_each_time_the_lock_was_lost(ground: Ground) -> None:
    """Another command may have listed or deleted them meanwhile."""
    lock, one_file = ground.parts.lock, files()
    rows_at_renewal: list[dict[str, int]] = []

    async def renew() -> bool:
        rows_at_renewal.append(await ground.counts())
        lock.hold = 3  # the lock is lost and taken again during the first renewal
        return True

    lock.hold = 2
    stored = replace(one_file, renew=renew)
    assert await ground.write(plain(1), stored=stored) is WriteResult.INSERTED
    assert rows_at_renewal == [NOTHING, NOTHING]
    counts = await ground.counts()
    for submission in (plain(2), with_rule(3)):
        gone = files(False, hold=2)
        assert await ground.write(submission, stored=gone) is WriteResult.FILES_GONE
    assert await ground.counts() == counts


async def test_a_lost_reply_and_then_a_lost_lock(ground: Ground) -> None:
    """The rows may be in the target: that their blobs are gone must not look like success."""
    lock = ground.parts.lock
    for attempt, submission, reply in (
        (1, plain(1), Reply.INSERT),
        (2, with_rule(2), Reply.COMMIT),
    ):
        for exist in (True, False):
            stored = files(exist, hold=lock.hold)
            is_first = only_first(reply)

            def lose(kind: Reply, is_first: Callable[[Reply], bool] = is_first) -> bool:
                is_due = is_first(kind)
                lock.hold += is_due
                return is_due

            ground.drops.due = lose
            if exist:
                assert await ground.write(submission, stored=stored) is WriteResult.INSERTED
                assert attempt in await ground.scenario.attempts()
                continue
            with pytest.raises(AmbiguousError) as raised:
                await ground.write(submission, stored=stored)
            assert str(raised.value) == (
                "target insert: the reply and then the lock were lost, and blobs are missing"
            )


async def test_the_outcome_is_unknown_when_replies_are_lost_again_and_again(
    ground: Ground,
) -> None:
    """The server answers other calls meanwhile, so the run does not wait for it."""

    def lose(lost: Reply) -> None:
        def due(kind: Reply) -> bool:
            ground.parts.breaker.record_success()
            return kind is lost

        ground.drops.due = due

    lose(Reply.INSERT)
    with pytest.raises(AmbiguousError) as insert:
        await ground.write(plain(1))
    assert str(insert.value) == "target insert: SQLSTATE 08003"
    assert await ground.scenario.attempts() == [1]
    lose(Reply.READ_BACK)
    with pytest.raises(TransientError) as standing:
        await ground.write(plain(1))
    assert str(standing.value) == "target standing: SQLSTATE 08003"


async def test_blobs_may_be_deleted_during_the_first_hold_of_the_lock_only(
    ground: Ground,
) -> None:
    writer, lock = ground.parts.writer, ground.parts.lock
    before_s = boot_time_s()
    assert await writer.may_delete_blobs()
    (asked_s,) = lock.asked
    assert before_s <= asked_s <= boot_time_s()
    for error in (TransientError(Dependency.TARGET, "lock", "lost"), RunStopped()):
        lock.error = error
        assert not await writer.may_delete_blobs()
    lock.error, lock.hold = None, 2
    assert not await writer.may_delete_blobs()


async def test_no_file_is_stored_during_an_outage_of_the_target(ground: Ground) -> None:
    ground.parts.lock.hold = 2
    assert await ground.parts.writer.ready() == 2
    ground.parts.breaker.trip(SystemicError(Dependency.TARGET, "insert", "its disk is full"))
    ready = asyncio.create_task(ground.parts.writer.ready(), name="ready")
    await asyncio.sleep(0)
    assert not ready.done()
    ground.parts.stop_signal.stop(StopReason.SIGTERM, "terminated")
    with pytest.raises(RunStopped):
        await ready
