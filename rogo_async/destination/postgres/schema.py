"""The target's tables and columns that this tool reads and writes; checked at start."""

import re
from typing import Final

from rogo_async.destination.postgres.queries import query

_INSERT = re.compile(r"INSERT INTO (\w+) \(([^)]*)\)")


def _inserted(*names: str) -> dict[str, tuple[str, ...]]:
    """Tables and columns of the INSERTs in the named statements, read from their SQL."""
    return {
        table: tuple(column.strip() for column in columns.split(","))
        for name in names
        for table, columns in _INSERT.findall(query(name).sql)
    }


WRITTEN_TABLES: Final = _inserted("insert_submission", "insert_malpractice_rule")

READ_TABLES: Final = {
    "users": ("id", "role", "created_at"),
    "assessments": ("id", "code", "name", "is_active"),
    "assessment_sections": ("id", "assessment_id", "question_text"),
    "malpractice_levels": ("id", "level_text", "sort_order", "is_active"),
}
