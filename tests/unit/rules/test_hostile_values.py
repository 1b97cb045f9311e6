"""Hostile cells and warehouse values: the rules return a value or a code, no other error.

ROGO_TEST_HOSTILE is the number of inputs over all hostile suites (nine tenths of them are here),
ROGO_TEST_SEED varies them.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import inf, isfinite, nan
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.settings import Lms
from rogo_async.common.urls import AllowList, origin
from rogo_async.destination.postgres.parameters import malpractice_rule_values, submission_values
from rogo_async.rules.files import BlobOwner, blob_name, owner_of_blob, plan_files, split_urls
from rogo_async.rules.identity import identify
from rogo_async.rules.matching import Reference
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import (
    Assessment,
    FileKind,
    FileRef,
    MalpracticeLevel,
    Section,
    SourceRow,
    StoredFile,
    Submission,
    WarehouseRows,
)
from rogo_async.sources.warehouse import convert

COUNT: Final = int(os.environ.get("ROGO_TEST_HOSTILE", "40000"))
SEED: Final = int(os.environ.get("ROGO_TEST_SEED", "1"))
ALLOWED: Final = {("https", "good.example", 443), ("http", "127.0.0.1", 10000)}
ALLOW: Final = AllowList.from_hosts(["good.example", "http://127.0.0.1:10000"])
LMS: Final = Lms("inst", "key", "Name", "https://lms.example/section/")
REFERENCE: Final = Reference(
    [Assessment("a5", "5AB01 Working 24_01", "5AB01", is_active=True)],
    [Section("s1", "a5", "Question 1"), Section("s2", "a5", "Question 2: why")],
    [MalpracticeLevel("m", "Moderate"), MalpracticeLevel("s", "Severe")],
)
ROW: Final = SourceRow(
    2, (), None, "7", "Ada", "L", "a@b.example", "A1", "C", "u1", "ada", "a.docx",
    "https://good.example/c/a.docx", "",
)  # fmt: skip

SCHEMES: Final = ("http", "https", "HTTPS", "hTTp", "ftp", "file", "javascript", "data", "", "ws")
SEPARATORS: Final = (
    "://",
    "://",
    "://",
    "://",
    ":",
    ":/",
    ":///",
    "://///",
    ":\\\\",
    "//",
    ":\n//",
)
HOSTS: Final = (
    "good.example", "good.example", "GOOD.example", "good.example.", "good.example.evil.test",
    "evil.test", "g\u043eod.example", "good\u3002example", "good\uff0eexample", "ｇood.example",
    "good.examp\u2113e", "xn--god-zmc.example", "good.example\u200b", "good\u00ad.example",
    "goo d.example", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "127\u30020.0.1", "①27.0.0.1",
    "localhost", "[::1", "::1", "[v1.x]", "[fe80::1%25eth0]", "", ".", "..", "a..b", "-", "_",
    "good.example%2eevil.test", "good.example%00", "%67ood.example", "a" * 300, "é" * 300,
    "ß.example", "\u202egood.example", "good.example\t",
)  # fmt: skip
USERS: Final = ("", "", "", "", "user@", "good.example@", "good.example:443@", "a:b@c@", "%40", "@")
PORTS: Final = (
    "", "", "", ":443", ":10000", ":80", ":0", ":", ":65536", ":99999999", ":-1", ":٤٤٣",
    ":443:443", ":443@evil.test", ":10000#", ":4\n43",
)  # fmt: skip
PATHS: Final = (
    "", "/", "/c/a.docx", "/c/../../x", "/%2e%2e/%2E%2E/x", "/..%2f..%5cx", "/c%2Fd/a%20b.docx",
    "\\evil.test", "/\\evil.test", "//evil.test/x", "/a\0b", "/a%00b", "/a\r\nHost: evil.test",
    "/a%0d%0aX: y", "/%", "/%zz", "/😀 é.docx", "/\ud83d", "/" + "x" * 9000, "/a?sig=1&sig=2",
    "/a?x=😀", "?@evil.test/", "#@evil.test/", "/a#b", "/a;b,c=d", "/a, b,https://evil.test/",
    ",http://evil.test/a", "/\u2028", "/a\u202efdp.exe", "/ ",
)  # fmt: skip
NAMES: Final = (
    "", " ", ".", "..", "...", "a.docx", "../../etc/passwd", "..\\..\\boot.ini", "C:\\x\\y.doc",
    "a/b/c", "/", "\\", "a\0b.pdf", "a\r\nb", "\x1b[31m", "\x7f", "\x85", "\u2028",
    "\u202efdp.exe", "😀" * 80, "é.PDF", "x" * 3000, ".docx", "a.", "a..docx", "a.docx.", "a.DOCX",
    "a.\u0130", "a.x" + "y" * 50, "CON", "nul.txt", "%2e%2e%2f", "a%00.pdf", "'; DROP TABLE x --",
    "<script>", "=1+1", "\ud83d", "-", "_", "a,b", "Zoë",
)  # fmt: skip
VALUES: Final[tuple[Any, ...]] = (
    None, "", " ", "\0", "a\0b", "\ud83c", "x\udfffy", "😀", "\u2028", "x" * 100_000, "nan", "inf",
    "-Infinity", "1e999999", "1e-999999", "9" * 5000, "1_000", "٣", "0x10", "1,5", "sNaN", "Pass",
    "5AB01 Working", "5AB01", "Question 1", "question 2", "Question 10", "Grade Missed",
    "malpractice", "Malpractice – Moderate", "malpractice severe!", "malpractice İ", "Refer/Fail",
    "\u00a0", "\x1c", "2025-03-01", "2025-02-30", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", "2025-W01-1", "T", "20250301", "24:00", 0, 1, -1, 7, 2**31,
    2**63, 10**400, -(10**5000), True, False, 0.0, -0.0, 1.5, 1e308, 5e-324, nan, inf, -inf,
    Decimal(0), Decimal("1.50"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"),
    Decimal("1E+400"), Decimal("1E+6000"), Decimal("1E-6000"), Decimal("9" * 60), b"", b"7",
    b"\xff\x00", bytearray(b"x"), datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), datetime(2025, 3, 1, tzinfo=UTC),
    date.min, date.max, time(1, 2), timedelta(1), (), object(),
    datetime.min, datetime.max, datetime(2025, 3, 1),  # noqa: DTZ001, DTZ901
)  # fmt: skip
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def an_address(random_: random.Random) -> str:
    """A valid address with up to four invalid parts, and sometimes an invalid character."""
    parts = [
        *random_.choice((("https", "://", "", "good.example"), ("http", "://", "", "127.0.0.1")))
    ]
    parts += ["" if parts[0] == "https" else ":10000", "/c/a.docx"]
    choices = (SCHEMES, SEPARATORS, USERS, HOSTS, PORTS, PATHS)
    for workspace in random_.sample(range(len(parts)), k=random_.randrange(5)):
        parts[workspace] = random_.choice(choices[workspace])
    text = "".join(parts)
    if random_.random() < 0.1:
        workspace = random_.randrange(len(text) + 1)
        text = (
            text[:workspace]
            + chr(random_.choice((0, 9, 10, 13, 32, 64, 92, 0xAD, 0x2044)))
            + text[workspace:]
        )
    return text


def a_cell(random_: random.Random) -> str:
    """Mostly one address, sometimes several, rarely a hundred."""
    count = random_.choice((1, 1, 1, 1, 2, 3, 100 if random_.random() < 0.02 else 1))
    return ",".join(an_address(random_) for _ in range(count))


def a_name(random_: random.Random) -> str:
    return "".join(random_.choices(NAMES, k=random_.randrange(4)))


def test_hostile_urls_are_split_and_permitted_or_refused_with_a_code(
    record_property: Callable[[str, Any], None],
) -> None:
    """Two independent parsers agree that a permitted URL is on the allow-list."""
    random_, count = random.Random(SEED), COUNT * 4 // 10
    seen: Counter[str] = Counter()
    for _ in range(count):
        cell = a_cell(random_)
        for address in split_urls(cell):
            try:
                url = ALLOW.permit(address)
            except RowError as fault:
                assert fault.code is FailureCode.SOURCE_NOT_ALLOWED
                assert not CONTROL.search(fault.message), address
                assert len(fault.message) < 500
                seen["not allowed"] += 1
                continue
            text = str(url)
            assert re.fullmatch("[!-~]+", text), address
            assert "\\" not in text
            parts = urlsplit(text)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            assert (parts.scheme, parts.hostname, port) in ALLOWED, address
            assert origin(url) in ALLOWED, address
            assert (url.user, url.password, parts.username) == (None, None, None), address
            seen["permitted"] += 1
    told(record_property, "URL cells", count, seen)
    assert min(seen["permitted"], seen["not allowed"]) > count // 50


def test_hostile_names_give_safe_blob_names(record_property: Callable[[str, Any], None]) -> None:
    """File names, people's names and Assessment IDs never leave their folder of the container."""
    random_, count = random.Random(SEED + 1), COUNT * 2 // 10
    seen: Counter[str] = Counter()
    for _ in range(count):
        row = replace(
            ROW,
            first_name=a_name(random_),
            surname=a_name(random_),
            assessment_id=a_name(random_),
            learner_file_names=",".join(a_name(random_) for _ in range(random_.randrange(3))),
            learner_urls=a_permitted_cell(random_),
            marker_urls=a_permitted_cell(random_),
        )
        try:
            files = plan_files(row, a_name(random_), ALLOW)
        except RowError as fault:
            assert fault.code in {FailureCode.FILES_MISSING, FailureCode.SOURCE_NOT_ALLOWED}
            seen[str(fault.code)] += 1
            continue
        seen["files"] += len(files)
        owners = [holds_blob_name(ref) for ref in files]
        assert [owner.order for owner in owners] == list(range(1, len(files) + 1))
    told(record_property, "rows of names", count, seen)
    assert seen["files"] > count // 10


def a_permitted_cell(random_: random.Random) -> str:
    tails = (random_.choice(PATHS) for _ in range(random_.randrange(3)))
    return ",".join(f"https://good.example/c/{tail}" for tail in tails)


def holds_blob_name(ref: FileRef) -> BlobOwner:
    """Check rule 14 for the name of a file's blob. Returns the owner that the name contains."""
    identity = identify(7, "20250301T000000Z-00000000", "inst")
    name = blob_name(7, identity.submission_id, ref)
    folder = "LTI_Uploads" if ref.kind is FileKind.SUBMISSION else "Marker_files"
    last = name.removeprefix(f"{folder}/rogo_7/{identity.submission_id}/{ref.order}_")
    assert re.fullmatch("[A-Za-z0-9._-]+", last), ref.name
    assert ".." not in name
    assert not last.endswith("."), ref.name
    assert len(name) <= 1024
    assert ref.extension == ref.extension.lower()
    owner = owner_of_blob(name)
    assert owner is not None, name
    assert owner.submission_id == identity.submission_id
    return owner


def test_hostile_warehouse_values_give_a_value_or_a_code(
    record_property: Callable[[str, Any], None],
) -> None:
    """For every value of the driver, the result can be written to the target or has a code."""
    random_, count = random.Random(SEED + 2), COUNT * 3 // 10
    seen: Counter[str] = Counter()
    for _ in range(count):
        report = report_cells(random_)
        scores = [score_cells(random_) for _ in range(random_.randrange(3))]
        try:
            found = convert.report(report), [convert.score(score) for score in scores]
        except ValueError:
            # What the reader turns into a SystemicError: for this one column only.
            attempts = [cells["AttemptId"] for cells in (report, *scores)]
            assert not all(isinstance(attempt, int) and attempt == 7 for attempt in attempts)
            seen["no attempt"] += 1
            continue
        try:
            prepared = prepare(
                Submission(ROW, 7, 2, "24_01", WarehouseRows((found[0],), tuple(found[1]))),
                REFERENCE,
                ALLOW,
            )
            identity = identify(7, "20250301T000000Z-00000000", LMS.instance_id)
            files = [StoredFile(ref, "b", "https://x/b", 1, b"") for ref in prepared.files]
            holds_values(submission_values(prepared, files, identity, LMS, "c").values())
            if prepared.malpractice:
                holds_values(malpractice_rule_values(prepared, identity, LMS, "u").values())
                seen["malpractice"] += 1
            seen["written"] += 1
        except RowError as fault:
            assert fault.code in FailureCode
            assert not CONTROL.search(fault.message), fault.message
            fault.message.encode()
            seen[str(fault.code)] += 1
    told(record_property, "warehouse rows", count, seen)
    assert min(seen["written"], seen["no attempt"]) > 0
    assert {"report_field_missing", "score_field_missing", "grade_missed"} <= seen.keys()
    assert {"exercise_invalid", "section_missing", "target_refused", "malpractice"} <= seen.keys()


def report_cells(random_: random.Random) -> dict[str, Any]:
    """A valid report, except for some of its columns."""
    cells = {
        "AttemptId": 7, "TIUserId": 5, "TISectionId": "81", "Exercise": "5AB01 Working Lives",
        "MarksAchieved": 40, "MarksAwarded": None, "MarksAvailable": Decimal(60),
        "GradePercent": 66.5, "Grade": "Pass", "MarkerNotes": None, "ResultsApproved": None,
        "DateInserted": datetime(2025, 3, 1), "DateModified": None,  # noqa: DTZ001
    }  # fmt: skip
    return spoiled(random_, cells)


def score_cells(random_: random.Random) -> dict[str, Any]:
    cells = {
        "AttemptId": 7, "ScoreLabelCorrected": random_.choice(("Question 1", "Question 2")),
        "Score": 3, "MarkerComment": "fine", "DateInserted": None, "DateModified": None,
    }  # fmt: skip
    return spoiled(random_, cells)


def spoiled(random_: random.Random, cells: dict[str, Any]) -> dict[str, Any]:
    others = [name for name in cells if name != "AttemptId" or random_.random() < 0.1]
    for name in random_.sample(others, k=min(len(others), random_.choice((0, 1, 1, 2, 3)))):
        cells[name] = random_.choice(VALUES)
    return cells


def holds_values(values: Any) -> None:
    """Every parameter is of a kind that the driver can send: the target then judges the content."""
    for value in values:
        if isinstance(value, list):
            holds_values(value)
        elif isinstance(value, str):
            value.encode()
        elif isinstance(value, float):
            assert isfinite(value)
        elif isinstance(value, datetime):
            assert value.tzinfo is UTC
        else:
            assert value is None or (isinstance(value, int) and abs(value) < 2**63)


def told(record_property: Callable[[str, Any], None], what: str, count: int, seen: Any) -> None:
    """Print and record the number of inputs."""
    record_property(f"hostile {what}", count)
    print(f"{count:,} hostile {what}: {dict(seen)}")  # noqa: T201 - the counts are the result


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("DateInserted", "0001-01-01T00:00:00+14:00"),
        ("DateModified", datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))),
        ("TIUserId", 10**5000),
        ("TIUserId", b"501"),
        ("Grade", Decimal("1E+6000")),
        ("MarksAvailable", 10**5000),
    ],
    ids=range(6),
)
def test_values_that_once_crashed_are_refused_with_a_code(column: str, value: object) -> None:
    cells = {**report_cells(random.Random(0)), "AttemptId": 7, column: value}
    assert column in convert.report(cells).unreadable


@pytest.mark.parametrize("value", [inf, nan, Decimal("Infinity"), Decimal("sNaN"), None, date.min])
def test_a_warehouse_attempt_id_that_is_not_a_number_is_one_kind_of_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"AttemptId|NaN"):
        convert.attempt({"AttemptId": value})
