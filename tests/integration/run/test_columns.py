"""Every column of every row of four handwritten submissions.

The expected values are handwritten too, from specification §2 and §3 only.
"""

import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import ContainerClient

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import TABLES, Scenario, SourceSubmission
from tests.support.cli import MIGRATED, run_cli, summary, table

LMS = {
    "ROGO_INSTANCE_ID": "inst-9",
    "ROGO_CONSUMER_KEY": "the-key",
    "ROGO_CONSUMER_NAME": "The College",
    "ROGO_RETURN_URL_BASE": "https://lms.example/d2l/home/",
}
MB_1_2 = b"%PDF-1.7 " + bytes(1_258_282)
LEARNER_1, LEARNER_2 = MB_1_2, b"notes"
FEEDBACK = b"well done"

ID = "a generated id"
WRITTEN = "the time of writing"
LAUNCH, RECORD, SUBMISSION = "its launch id", "its session record's id", "its submission's id"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


INSERTED, MODIFIED, APPROVED = (
    utc(2025, 3, 1, 9, 30, 15),
    utc(2025, 3, 5, 12, 45),
    utc(2025, 3, 9, 16),
)
MARKED, REMARKED = utc(2025, 3, 2, 8), utc(2025, 3, 3, 8)
NEVER = utc(2099, 12, 31)


def naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def submissions(azure: str, scripted: str) -> list[SourceSubmission]:
    return [
        SourceSubmission(
            101,
            {
                "Attempt ID": " 0101 ",
                "First Name": " Zoë ",
                "Surname": "O’Connor-Šimůnek",
                "Learner Email": " zoe@college.example ",
                "Assessment ID": "A-77",
                "Course Title": " Leading, and following ",
                "Rogo User ID": "u-zoe",
                "Rogo User Name": "zoe.oc",
                "Learner File Names": "Report, part 1.PDF,Notes, all.txt",
                "Learner Azure Blob URLs": f"{azure}/101/1733350000000_Report, part 1.PDF,"
                f"{azure}/101/1733350000001%5FNotes%2C%20all.txt",
            },
            version="24_01",
            submission="Retake Attempt 2 of 3",
            report={
                "TIUserId": "5001",
                "TISectionId": "81",
                "Exercise": " 5AB01 Working Lives ",
                "MarksAchieved": 42.5,
                "MarksAwarded": 1,
                "MarksAvailable": 60,
                "GradePercent": 70.75,
                "Grade": " Distinction ",
                "MarkerNotes": " Wohl überlegt 🎓 ",
                "ResultsApproved": naive(APPROVED),
                "DateInserted": naive(INSERTED),
                "DateModified": naive(MODIFIED),
            },
            scores=[
                {
                    "ScoreLabelCorrected": " question 1 ",
                    "Score": 20.5,
                    "MarkerComment": " good ",
                    "DateInserted": naive(MARKED),
                    "DateModified": naive(REMARKED),
                },
                {"ScoreLabelCorrected": "Question 2", "Score": 0, "MarkerComment": "  "},
            ],
        ),
        SourceSubmission(
            102,
            {
                "Attempt ID": "102",
                "Surname": "Grün",
                "Learner Email": "gruen@college.example",
                "Assessment ID": "B/1",
                "Rogo User ID": "u-gruen",
                "Learner File Names": "Essay, final.docx",
                "Learner Azure Blob URLs": f"{scripted}/102/other-name.docx",
                "Marker Azure Blob URLs": f"{scripted}/102/one.DOCX,{scripted}/102/two",
            },
            version="25_01",
            submission="attempt 1",
            report={
                "TIUserId": "5002",
                "TISectionId": "82",
                "Exercise": "7CD02 Leading  People",
                "MarksAchieved": 0,
                "MarksAwarded": 55,
                "MarksAvailable": 100,
                "GradePercent": 0,
                "Grade": "Malpractice - Considerable",
                "DateInserted": naive(INSERTED),
            },
            scores=[{"ScoreLabelCorrected": "Task A", "Score": 7, "DateInserted": naive(MARKED)}],
        ),
        SourceSubmission(
            103,
            {
                "Attempt ID": "103",
                "Learner Email": "anon@college.example",
                "Rogo User Name": "anon.user",
                "Marker Azure Blob URLs": f"{scripted}/103/feedback",
            },
            submission="Attempt 12",
            report={
                "TIUserId": "5003",
                "TISectionId": "83",
                "Exercise": "5AB01 Working Lives",
                "MarksAchieved": None,
                "MarksAwarded": 12.5,
                "MarksAvailable": 50,
                "GradePercent": 25,
                "Grade": "refer/fail",
                "DateInserted": naive(INSERTED),
                "DateModified": naive(MODIFIED),
            },
        ),
        SourceSubmission(
            104,
            {
                "Attempt ID": "104",
                "First Name": "Ada",
                "Learner Email": "ada@college.example",
                "Learner File Names": "README",
                "Learner Azure Blob URLs": f"{scripted}/104/README",
            },
            version="25_01",
            report={
                "TIUserId": "5001",
                "TISectionId": "82",
                "Exercise": "7CD02 Leading People",
                "MarksAchieved": 61,
                "MarksAvailable": 100,
                "GradePercent": 61,
                "Grade": "MERIT",
                "ResultsApproved": naive(APPROVED),
                "DateInserted": naive(INSERTED),
            },
        ),
    ]


PERSON: dict[int, dict[str, Any]] = {
    101: {
        "lms_user_id": "inst-9::5001",
        "first_name": "Zoë",
        "last_name": "O’Connor-Šimůnek",
        "full_name": "Zoë O’Connor-Šimůnek",
        "email": "zoe@college.example",
        "custom_assessment_code": "5AB01",
        "context_title": "Leading, and following",
        "context_id": "inst-9::81",
    },
    102: {
        "lms_user_id": "inst-9::5002",
        "first_name": None,
        "last_name": "Grün",
        "full_name": "Grün",
        "email": "gruen@college.example",
        "custom_assessment_code": "7CD02",
        "context_title": "7CD02 Leading  People",
        "context_id": "inst-9::82",
    },
    103: {
        "lms_user_id": "inst-9::5003",
        "first_name": None,
        "last_name": None,
        "full_name": "anon.user",
        "email": "anon@college.example",
        "custom_assessment_code": "5AB01",
        "context_title": "5AB01 Working Lives",
        "context_id": "inst-9::83",
    },
    104: {
        "lms_user_id": "inst-9::5001",
        "first_name": "Ada",
        "last_name": None,
        "full_name": "Ada",
        "email": "ada@college.example",
        "custom_assessment_code": "7CD02",
        "context_title": "7CD02 Leading People",
        "context_id": "inst-9::82",
    },
}
"""Columns that session record and submission share."""

EVERY_PERSON = {
    "consumer_name": "The College",
    "role": "Learner",
    "custom_action": "exercise_attempt",
    "custom_instruction_set": "AIS",
    "context_type": "CourseSection",
}
RETURN_URL = {
    101: "https://lms.example/d2l/home/81",
    102: "https://lms.example/d2l/home/82",
    103: "https://lms.example/d2l/home/83",
    104: "https://lms.example/d2l/home/82",
}
COURSE_NAME = {
    101: "5AB01 Working Lives",
    102: "7CD02 Leading  People",
    103: "5AB01 Working Lives",
    104: "7CD02 Leading People",
}
DECIDED = {101: APPROVED, 102: INSERTED, 103: INSERTED, 104: APPROVED}
UPDATED = {101: MODIFIED, 102: INSERTED, 103: MODIFIED, 104: INSERTED}
NUMBER = {101: 2, 102: 1, 103: 12, 104: 1}
FILES = {101: (2, "1.2 MB"), 102: (3, "0.0 MB"), 103: (1, "0.0 MB"), 104: (1, "0.0 MB")}


def launch(attempt: int) -> dict[str, Any]:
    person = PERSON[attempt]
    return {
        "id": ID,
        "launch_id": LAUNCH,
        "consumer_key": "the-key",
        "user_id": person["lms_user_id"],
        "user_email": person["email"],
        "user_name": person["full_name"],
        "course_name": COURSE_NAME[attempt],
        "return_url": RETURN_URL[attempt],
        "resource_link_id": None,
        "context_id": person["context_id"],
        "tool_consumer_instance_guid": "inst-9",
        "custom_params": f'{{"cis":"AIS","cas":"{person["custom_assessment_code"]}"}}',
        "lti_message_type": "basic-lti-launch-request",
        "context_type": "CourseSection",
        "context_title": person["context_title"],
        "roles": "Learner",
        "lis_person_name_given": person["first_name"],
        "lis_person_name_family": person["last_name"],
        "lis_person_name_full": person["full_name"],
        "lis_person_contact_email_primary": person["email"],
        "tool_consumer_instance_name": "The College",
        "custom_action": "exercise_attempt",
        "assignment_title": "Submission Area",
        "custom_instruction_set": "AIS",
        "custom_assessment_code": person["custom_assessment_code"],
        "created_at": INSERTED,
        "expires_at": NEVER,
    }


def record(attempt: int) -> dict[str, Any]:
    return {
        "id": RECORD,
        "launch_id": LAUNCH,
        **EVERY_PERSON,
        **PERSON[attempt],
        "resource_link_id": None,
        "resource_link_title": PERSON[attempt]["context_title"],
        "consumer_key": "the-key",
        "tool_consumer_instance_guid": "inst-9",
        "return_url": RETURN_URL[attempt],
        "has_file_submission": "true",
        "session_expiry": NEVER,
        "created_at": INSERTED,
    }


def submission(attempt: int) -> dict[str, Any]:
    count, size = FILES[attempt]
    return {
        "id": SUBMISSION,
        "lti_session_record_id": RECORD,
        "lti_launch_id": LAUNCH,
        **EVERY_PERSON,
        **PERSON[attempt],
        "file_count": count,
        "total_file_size": size,
        "submitted_at": DECIDED[attempt],
        "attempt_number": NUMBER[attempt],
        "created_at": INSERTED,
        "updated_at": UPDATED[attempt],
    }


def marking(attempt: int) -> dict[str, Any]:
    return {
        "id": ID,
        "submission_id": SUBMISSION,
        "assigned_marker_id": None,
        "marking_status": "released",
        "assigned_at": WRITTEN,
        "status_updated_at": DECIDED[attempt],
        "status_updated_by": None,
        "notes": None,
        "hold_reason": None,
        "priority": None,
        "due_date": None,
        "created_at": INSERTED,
        "updated_at": UPDATED[attempt],
    }


def mark(
    section: str, awarded: float, feedback: str | None, created: datetime, updated: datetime
) -> dict[str, Any]:
    return {
        "id": ID,
        "submission_id": SUBMISSION,
        "section_id": section,
        "marker_id": None,
        "selected_option_id": None,
        "feedback": feedback,
        "marks_awarded": awarded,
        "marking_criterias": None,
        "created_at": created,
        "updated_at": updated,
    }


MARKS = {
    101: [
        mark("section-5-1", 20.5, "good", MARKED, REMARKED),
        mark("section-5-2", 0.0, None, INSERTED, MODIFIED),
    ],
    102: [mark("section-7-1", 7.0, None, MARKED, MARKED)],
    103: [],
    104: [],
}

GRADES: dict[int, dict[str, Any]] = {
    101: {
        "assessment_id": "assessment-5",
        "total_marks_awarded": 42.5,
        "total_marks_possible": 60.0,
        "percentage_score": 70.75,
        "final_grade": "Distinction",
        "overall_summary": "Wohl überlegt 🎓",
        "malpractice_level_id": None,
        "malpractice_notes": None,
    },
    102: {
        "assessment_id": "assessment-7",
        "total_marks_awarded": 0.0,
        "total_marks_possible": 100.0,
        "percentage_score": 0.0,
        "final_grade": "Refer",
        "overall_summary": None,
        "malpractice_level_id": "level-considerable",
        "malpractice_notes": "Malpractice - Considerable",
    },
    103: {
        "assessment_id": "assessment-5",
        "total_marks_awarded": 12.5,
        "total_marks_possible": 50.0,
        "percentage_score": 25.0,
        "final_grade": "Refer",
        "overall_summary": None,
        "malpractice_level_id": None,
        "malpractice_notes": None,
    },
    104: {
        "assessment_id": "assessment-7",
        "total_marks_awarded": 61.0,
        "total_marks_possible": 100.0,
        "percentage_score": 61.0,
        "final_grade": "Pass",
        "overall_summary": None,
        "malpractice_level_id": None,
        "malpractice_notes": None,
    },
}


def grade(attempt: int) -> dict[str, Any]:
    return {
        "id": ID,
        "submission_id": SUBMISSION,
        **GRADES[attempt],
        "marker_id": None,
        "skip_reason_id": None,
        "skipped_reason": None,
        "word_count": None,
        "is_complete": True,
        "completed_at": DECIDED[attempt],
        "created_at": INSERTED,
        "updated_at": UPDATED[attempt],
    }


DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
Stored = tuple[str, str, str | None, str, bytes, str | None]
STORED: dict[int, list[Stored]] = {
    101: [
        ("Report, part 1.PDF", "LTI_Uploads/rogo_101/{}/1_Report__part_1.pdf", "pdf",
         "application/pdf", LEARNER_1, "u-zoe"),
        ("Notes, all.txt", "LTI_Uploads/rogo_101/{}/2_Notes__all.txt", "txt", "text/plain",
         LEARNER_2, "u-zoe"),
    ],
    102: [
        ("Essay, final.docx", "LTI_Uploads/rogo_102/{}/1_Essay__final.docx", "docx", DOCX,
         LEARNER_2, "u-gruen"),
        ("B/1_-Gr_n_feedback_1.docx", "Marker_files/rogo_102/{}/2_B_1_-Gr_n_feedback_1.docx",
         "docx", DOCX, FEEDBACK, None),
        ("B/1_-Gr_n_feedback_2.docx", "Marker_files/rogo_102/{}/3_B_1_-Gr_n_feedback_2.docx",
         "docx", DOCX, FEEDBACK, None),
    ],
    103: [
        ("5AB01_-_feedback.docx", "Marker_files/rogo_103/{}/1_5AB01_-_feedback.docx", "docx",
         DOCX, FEEDBACK, None),
    ],
    104: [
        ("README", "LTI_Uploads/rogo_104/{}/1_README", None, "application/octet-stream",
         LEARNER_2, "ada@college.example"),
    ],
}  # fmt: skip
"""Name, blob name, type, content type, bytes and uploader of each file, in upload order."""


def files(attempt: int, submission_id: str, container: str, endpoint: str) -> list[dict[str, Any]]:
    rows = []
    for order, (name, blob, kind, mime, body, by) in enumerate(STORED[attempt], start=1):
        blob_name = blob.format(submission_id)
        rows.append(
            {
                "id": ID,
                "submission_id": SUBMISSION,
                "file_name": name,
                "original_file_name": name,
                "file_size": "1.2 MB" if body is MB_1_2 else "0.0 MB",
                "file_type": kind,
                "file_mime_type": mime,
                "file_url": f"{endpoint}/{container}/{blob_name}",
                "azure_blob_url": f"{endpoint}/{container}/{blob_name}",
                "azure_container_name": container,
                "azure_blob_name": blob_name,
                "upload_order": order,
                "uploaded_at": DECIDED[attempt],
                "submission_file_type": "feedback" if by is None else "submission",
                "uploaded_by": by,
                "turnitin_status": "pending" if by is None else "complete",
                "turnitin_submission_id": None,
                "turnitin_similarity_score": None,
                "turnitin_report_url": None,
                "turnitin_error_message": None,
                "turnitin_retry_count": 0,
                "turnitin_eula_accepted": False,
                "turnitin_excluded": "false",
                "turnitin_checked_at": None,
            }
        )
    return rows


ENFORCEMENT = {
    "id": ID,
    "lms_user_id": "inst-9::5002",
    "custom_assessment_code": "7CD02",
    "context_id": "inst-9::82",
    "context_title": "7CD02 Leading  People",
    "malpractice_level_id": "level-considerable",
    "submission_id": SUBMISSION,
    "attempt_number": 1,
    "enforced_max_attempts": 2,
    "rule_applied_by": "user-first",
    "rule_applied_at": WRITTEN,
    "created_at": WRITTEN,
    "updated_at": WRITTEN,
}


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """The four submissions in the input files, and their files in the two sources."""
    scenario = Scenario(stack, workspace)
    await scenario.load(submissions(stack.source_url(workspace), stack.source.origin))
    async with ContainerClient.from_connection_string(
        stack.azurite.connection_string,
        workspace.source_container,
        max_single_put_size=512 * 1024,
        max_block_size=512 * 1024,
    ) as source:
        settings = ContentSettings(content_type="application/octet-stream")
        await source.upload_blob(
            "101/1733350000000_Report, part 1.PDF", LEARNER_1, content_settings=settings
        )
        await source.upload_blob(
            "101/1733350000001_Notes, all.txt", LEARNER_2, content_settings=settings
        )
    for path, body in (
        ("102/other-name.docx", LEARNER_2),
        ("102/one.DOCX", FEEDBACK),
        ("102/two", FEEDBACK),
        ("103/feedback", FEEDBACK),
        ("104/README", LEARNER_2),
    ):
        scenario.serve_file(path, body)
    return scenario


async def test_every_column_of_every_row(scenario: Scenario, env: dict[str, str]) -> None:
    began = datetime.now(UTC)
    result = await run_cli({**env, **LMS})
    assert result.code == 0, result.output
    tables = {name: await scenario.rows(name) for name in TABLES}
    landed = {int(row["lti_launch_id"].split("_")[1]): row for row in tables[TABLES[2]]}
    assert set(landed) == set(PERSON)
    endpoint = scenario.stack.azurite.endpoint
    for attempt, found in landed.items():
        names = {
            LAUNCH: found["lti_launch_id"],
            RECORD: found["lti_session_record_id"],
            SUBMISSION: found["id"],
        }
        assert re.fullmatch(rf"rogo_{attempt}_[0-9a-f]{{8,}}", names[LAUNCH])
        expected = {
            "lti_launch_sessions": [launch(attempt)],
            "lti_session_records": [record(attempt)],
            "assignment_submissions": [submission(attempt)],
            "submission_files": files(
                attempt, names[SUBMISSION], scenario.workspace.container, endpoint
            ),
            "submission_marking_assignments": [marking(attempt)],
            "submission_section_marks": MARKS[attempt],
            "submission_grades": [grade(attempt)],
            "malpractice_enforcements": [ENFORCEMENT] if attempt == 102 else [],
        }
        assert set(expected) == set(TABLES)
        for name, rows in expected.items():
            mine = [row for row in tables[name] if _belongs(row, names)]
            tables[name] = [row for row in tables[name] if row not in mine]
            assert len(mine) == len(rows), (name, attempt)
            for row in rows:
                wanted = {key: names.get(value, value) for key, value in row.items()}
                assert _matching(wanted, mine, began), (name, wanted, mine)
    assert not any(tables.values()), "rows that belong to no submission"


def _belongs(row: dict[str, Any], names: dict[str, str]) -> bool:
    return bool(
        {row.get("launch_id"), row.get("lti_launch_id"), row.get("submission_id")}
        & {names[LAUNCH], names[SUBMISSION]}
    )


def _matching(wanted: dict[str, Any], rows: list[dict[str, Any]], began: datetime) -> bool:
    """Assert that exactly one row has the expected value in each column."""
    return sum(_same(wanted, row, began) for row in rows) == 1


def _same(wanted: dict[str, Any], row: dict[str, Any], began: datetime) -> bool:
    assert set(wanted) == set(row)
    for column, value in wanted.items():
        found = row[column]
        if value == ID:
            uuid.UUID(found)
        elif value == WRITTEN:
            if not began <= found <= datetime.now(UTC):
                return False
        elif found != value or type(found) is not type(value):
            return False
    return True


async def test_every_blob_is_named_typed_and_labelled(
    scenario: Scenario, env: dict[str, str]
) -> None:
    assert (await run_cli({**env, **LMS})).code == 0
    run_id = summary(scenario.data_dir)["run_id"]
    ids = {
        int(row["lti_launch_id"].split("_")[1]): row["id"]
        for row in await scenario.rows("assignment_submissions")
    }
    wanted = {
        blob.format(ids[attempt]): (attempt, mime, body, by is None)
        for attempt, stored in STORED.items()
        for _, blob, _, mime, body, by in stored
    }
    targets = set()
    async with scenario.container() as container:
        found = {item.name: item async for item in container.list_blobs(include=["metadata"])}
        assert set(found) == set(wanted)
        for name, (attempt, mime, body, is_feedback) in wanted.items():
            settings = found[name].content_settings
            assert settings.content_type == mime
            assert bytes(settings.content_md5 or b"") == hashlib.md5(body).digest()
            assert await (await container.download_blob(name)).readall() == body
            metadata = dict(found[name].metadata)
            targets.add(metadata.pop("target"))
            assert metadata == {
                "attemptId": str(attempt),
                "migratedFrom": "rogo_warehouse",
                "runId": run_id,
                **({"fileType": "marker_feedback"} if is_feedback else {}),
            }
    (target,) = targets
    assert re.fullmatch(r"[0-9a-f]{16,}", target)
    assert scenario.workspace.target not in target


async def test_migrated_csv_names_the_rows_of_the_target(
    scenario: Scenario, env: dict[str, str]
) -> None:
    assert (await run_cli({**env, **LMS})).code == 0
    path = scenario.data_dir / MIGRATED
    wanted = [
        {
            "Attempt ID": row["lti_launch_id"].split("_")[1],
            "Launch ID": row["lti_launch_id"],
            "Submission ID": row["id"],
            "Session Record ID": row["lti_session_record_id"],
            "User ID": row["lms_user_id"],
            "LTI Context ID": row["context_id"],
        }
        for row in await scenario.rows("assignment_submissions")
    ]
    assert len(wanted) == len(PERSON)
    assert sorted(table(path), key=str) == sorted(wanted, key=str)
    # It is derived from the target: the next run rebuilds a lost file.
    path.unlink()
    assert (await run_cli({**env, **LMS})).code == 0
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": len(PERSON)}
    assert sorted(table(path), key=str) == sorted(wanted, key=str)
