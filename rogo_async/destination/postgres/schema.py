"""The target's tables and columns that this tool reads and writes; checked at start."""

from typing import Final

from rogo_async.destination.postgres.queries import inserted_tables

WRITTEN_TABLES: Final = inserted_tables("insert_submission", "insert_malpractice_rule")

READ_TABLES: Final = {
    "users": ("id", "role", "created_at"),
    "assessments": ("id", "code", "name", "is_active"),
    "assessment_sections": ("id", "assessment_id", "question_text"),
    "malpractice_levels": ("id", "level_text", "sort_order", "is_active"),
}

_PARAMETER_OF: Final = {
    "consumer_key": "consumer_key",
    "consumer_name": "consumer_name",
    "tool_consumer_instance_name": "consumer_name",
    "tool_consumer_instance_guid": "instance_id",
    "role": "role",
    "roles": "role",
    "context_type": "context_type",
    "lti_message_type": "lti_message_type",
    "custom_action": "custom_action",
    "assignment_title": "assignment_title",
    "custom_instruction_set": "instruction_set",
    "azure_container_name": "container",
    "expires_at": "never",
    "session_expiry": "never",
}
CONSTANT_COLUMNS: Final = frozenset(_PARAMETER_OF) | {
    "assigned_marker_id",
    "has_file_submission",
    "is_complete",
    "marker_id",
    "marking_status",
    "resource_link_id",
    "status_updated_by",
    "submission_file_type",
    "turnitin_status",
}
"""Columns whose value does not depend on the submission."""

_SAME_LENGTH: Final = {
    "id": "submission_id",
    "submission_id": "submission_id",
    "lti_session_record_id": "submission_id",
    "launch_id": "launch_id",
    "lti_launch_id": "launch_id",
}


def parameter_of(column: str) -> str | None:
    """A parameter whose value is as long as that of every submission in this column, or None."""
    return _PARAMETER_OF.get(column) or _SAME_LENGTH.get(column)


LOSSY_TYPES: Final = {
    "number": ("smallint", "integer", "bigint"),
    "time": ("date", "time without time zone", "time with time zone"),
}
"""Types to which PostgreSQL converts a number or a time without an error, and cuts or rounds it."""

_NUMBERS: Final = frozenset(
    {"marks_awarded", "total_marks_awarded", "total_marks_possible", "percentage_score"}
)


def kind_of(column: str) -> str:
    """Whether this tool writes a ``number`` with decimals, a ``time`` or something else to it."""
    if column in _NUMBERS:
        return "number"
    return "time" if column.endswith("_at") or column == "session_expiry" else "other"
