"""Writes failures_by_assessment.csv: the failed rows for those who mend them (specification §2)."""

import codecs
import csv
import io
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rogo_async.common.files import write_private_parts
from rogo_async.reporting.failed_rows import FailedRow, FailedRowsFile

COLUMNS: Final = (
    "Unit Code",
    "Assessment ID",
    "Code",
    "Rows in Group",
    "New",
    "Accepted",
    "Attempt ID",
    "Message",
)
_MARKS: Final = {True: "yes", False: "no"}
_FORMULA: Final = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""Spreadsheets read the full-width signs, too."""

_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_NUMBER_OR_DATE: Final = re.compile(
    # 0012, 3E02, more digits than a spreadsheet keeps; 1-2, 1.50, 12:30, 2025-03-01T10:00Z;
    # 5 Mar; MAR10
    r"0\d+|\d+(?:[.,]\d+)?e[+-]?\d+|\d{16,}"
    r"|\d+(?:(?:[-/.,:\s]+|(?<=\d)t(?=\d+:))\d+)+z?"
    # 5 PM; 50%, $5, (5)
    r"|\d+(?::\d+)*(?:\s*[ap]m|\s+[ap])"
    r"|[$£€¥(]?\s*\d[\d.,]*\s*[%$£€¥)]|[$£€¥]\s*\d[\d.,]*|true|false"
    rf"|\d+[-/.\s]*{_MONTH}(?:[-/.\s]*\d+)?"
    rf"|{_MONTH}[-/.\s]*\d+",
    re.IGNORECASE,
)


def write_failures(
    source: Path,
    target: Path,
    is_new: Callable[[FailedRow], bool],
    is_accepted: Callable[[FailedRow], bool],
) -> None:
    """Write the rows of a failed-rows file sorted by unit, assessment and code.

    It takes 8 bytes of memory for each row. Raises OSError, UnicodeDecodeError and csv.Error.
    """
    with source.open("rb") as handle:
        write_private_parts(target, _lines(FailedRowsFile(handle), is_new, is_accepted))


def spreadsheet_text(text: str) -> str:
    """``text`` with an apostrophe before it, if a spreadsheet would take it for something else.

    That is a formula, a number that it rounds or shortens, or a date.
    """
    changed = _FORMULA.match(text) or _NUMBER_OR_DATE.fullmatch(text.strip())
    return f"'{text}" if changed else text


def _lines(
    file: FailedRowsFile,
    is_new: Callable[[FailedRow], bool],
    is_accepted: Callable[[FailedRow], bool],
) -> Iterator[bytes]:
    groups: defaultdict[tuple[str, str, str], array[int]] = defaultdict(lambda: array("Q"))
    for row in file:
        groups[row.unit, row.assessment, row.code].append(row.offset)
    yield codecs.BOM_UTF8 + _line(*COLUMNS)
    for (unit, assessment, code), offsets in sorted(groups.items()):
        count = str(len(offsets))
        for offset in offsets:
            row = file.at(offset)
            accepted = is_accepted(row)
            marks = [_MARKS[is_new(row) and not accepted], _MARKS[accepted]]
            yield _line(unit, assessment, code, count, *marks, row.attempt_id, row.message)


def _line(*cells: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(spreadsheet_text(cell) for cell in cells)
    return text.getvalue().encode()
