"""Hostile bytes in the two CSV files: every row gets a result, and no unexpected exception.

ROGO_TEST_HOSTILE is the number of inputs over all hostile suites (a tenth of them are files here),
ROGO_TEST_SEED varies them.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from rogo_async.common.errors import FailureCode, SetupError, SkipCode
from rogo_async.rules.identity import SQL_INT_MAX
from rogo_async.rules.records import Outcome, Submission
from rogo_async.rules.row_filter import MigratedAttempts, RowFilter
from rogo_async.sources.mapping_csv import Mapping, load_mapping
from rogo_async.sources.submissions_csv import USED_COLUMNS, SubmissionsFile

FILES: Final = int(os.environ.get("ROGO_TEST_HOSTILE", "40000")) // 20
"""For each of the two readers."""
SEED: Final = int(os.environ.get("ROGO_TEST_SEED", "1"))
CODES: Final = frozenset({*FailureCode, *SkipCode})
HEADER: Final = ",".join((*USED_COLUMNS, "Error")).encode()
WIDTH: Final = len(USED_COLUMNS) + 1
SOUND: Final = b"4711,Ada,Lovelace,a@college.example,A1,Course,u1,ada,a.docx,https://x.example/a,,"
MAPPING_HEADER: Final = b"Attempt ID,Unit Code,Unit Code Version,Assessment ID,Submission"
SOUND_MAPPING: Final = b"4711,U,24_01,A,Attempt 1"
MAPPED: Final = b"\n7,,24,,Attempt 1\n4711,,24,,Attempt 1\n12,,23,,Attempt 1"

PIECES: Final = (
    b",", b",", b",", b'"', b'""', b'","', b'"\n', b'\n"', b"\n", b"\r\n", b"\r", b"\n\r",
    b"\0", b"\t", b" ", b"\xef\xbb\xbf", b"\x1a", b"\x0b", b"\x0c", b"\x1c",
    "\u2028".encode(), "\u0085".encode(), "\u202e".encode(), "😀".encode(), "é".encode(),
    b"7", b"007", b"12|3|4", b"-1", b"+5", b"0", b"2147483647", b"2147483648", b"9" * 5000,
    "٣".encode(), "７".encode(), b"1e3", b"0x10", b"nan", b"row_malformed: no", b"row_malformed",
    b"24_01", b"Attempt 2", b"Attempt", b"Attempt -1", "Attempt ²".encode(), b"'; DROP TABLE x --",
    b"=cmd|'/c calc'!A1", b"https://x.example/a,https://y.example/b", b"../../etc/passwd", HEADER,
    SOUND, MAPPING_HEADER, SOUND_MAPPING, b"4711",
)  # fmt: skip
CELLS: Final = tuple(piece for piece in PIECES if not set(piece) & set(b'",\n\r')) + (b"",) * 20
BROKEN: Final = (b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf")


def body(random_: random.Random) -> bytes:
    """Random lines; one in eight is not UTF-8, one in two hundred has a huge cell."""
    parts = random_.choices(PIECES, k=random_.randrange(60))
    for _ in range(random_.randrange(4)):
        cells = b",".join(random_.choices(CELLS, k=WIDTH + random_.choice((0, 0, 0, -1, 1))))
        parts += [b"\n", random_.choice((b"", b"7", b"4711")), cells, b"\n"]
    kind = random_.random()
    if kind < 0.06:
        parts.insert(random_.randrange(len(parts) + 1), random_.choice(BROKEN))
    elif kind < 0.125:
        parts.append(random_.randbytes(random_.randrange(80)))
    elif kind > 0.995:
        parts.append(b'"' + b"x" * 1_100_000)
    return b"".join(parts)


def file_of(random_: random.Random, header: bytes, sound: bytes) -> tuple[bytes, bool]:
    """A header, random lines, and a valid row; some files (False) have neither header nor row."""
    if random_.random() < 0.1:
        return body(random_), False
    bom = b"\xef\xbb\xbf" if random_.random() < 0.2 else b""
    end = random_.choice((b"\n", b"\r\n"))
    torn = sound if random_.random() < 0.3 else sound + end
    return bom + header + end + body(random_) + end + torn, True


async def read_submissions(path: Path, row_filter: RowFilter, seen: Counter[str]) -> list[str]:
    """Process every row; return the Attempt IDs. Raises SetupError for an unusable file."""
    file = await SubmissionsFile.open(path)
    try:
        rows = [row async for chunk in file.chunks_from_end() for row in chunk]
        assert len(rows) == len(file)
        for row in rows:
            assert len(row.cells) == len(file.columns)
            result = row_filter.apply(row)
            if isinstance(result, Outcome):
                assert result.code in CODES
                seen[str(result.code)] += 1
            else:
                assert isinstance(result, Submission)
                assert 1 <= result.attempt <= SQL_INT_MAX
                seen["candidate"] += 1
        return [row.attempt_id for row in rows if row.malformed is None]
    finally:
        file.close()


async def test_submissions_of_any_bytes(
    tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    random_, path = random.Random(SEED), tmp_path / "submission_files.csv"
    mapping = await load_mapping(_written(tmp_path / "m.csv", MAPPING_HEADER + MAPPED))
    seen: Counter[str] = Counter()
    for number in range(FILES):
        content, is_whole = file_of(random_, HEADER, SOUND)
        try:
            attempts = await read_submissions(
                _written(path, content), RowFilter(mapping.get, MigratedAttempts(), ("24",)), seen
            )
        except SetupError as error:
            assert error.problems, number
            seen["refused"] += 1
            continue
        if is_whole:
            assert attempts[0] == "4711", (number, content)
    told(record_property, "submission files", FILES, seen)
    assert {"refused", "candidate", "row_malformed", "attempt_id_invalid"} <= seen.keys()
    assert {"attempt_id_missing", "duplicate_row", "mapping_missing"} <= seen.keys()


async def test_mappings_of_any_bytes(
    tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    random_, path = random.Random(SEED + 1), tmp_path / "attempt_number_mapping.csv"
    seen: Counter[str] = Counter()
    for number in range(FILES):
        content, is_whole = file_of(random_, MAPPING_HEADER, SOUND_MAPPING)
        try:
            mapping = await load_mapping(_written(path, content))
        except SetupError as error:
            assert error.problems, number
            seen["refused"] += 1
            continue
        assert len(mapping.rows) + mapping.without_attempt <= mapping.lines
        assert all(1 <= attempt <= SQL_INT_MAX for attempt in mapping.rows)
        seen["lines"] += mapping.lines
        seen["without attempt"] += mapping.without_attempt
        if is_whole:
            assert _says(mapping, 4711), (number, content)
    told(record_property, "mapping files", FILES, seen)
    assert min(seen["refused"], seen["without attempt"]) > 0


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xef\xbb\xbf", b"\0", b'"', b"\r", b"\xff", b","]
)
async def test_degenerate_files(tmp_path: Path, content: bytes) -> None:
    path = _written(tmp_path / "any.csv", content)
    for reader in (SubmissionsFile.open, load_mapping):
        with pytest.raises(SetupError):
            await reader(path)


def told(record_property: Callable[[str, Any], None], what: str, count: int, seen: Any) -> None:
    """Print and record the number of inputs."""
    record_property(f"hostile {what}", count)
    print(f"{count:,} hostile {what}: {dict(seen)}")  # noqa: T201 - the counts are for the reader


def _says(mapping: Mapping, attempt: int) -> bool:
    found = mapping.get(attempt)
    return found is not None and found.version == "24_01"


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
