"""URL and name cells (specification §1), rule 14 before a file is fetched, and blob names (§2)."""

import re
from uuid import NAMESPACE_DNS, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.rules.files import (
    BlobOwner,
    blob_name,
    content_type,
    owner_of_blob,
    plan_files,
    size_text,
    split_names,
    split_urls,
)
from rogo_async.rules.records import FileKind, FileRef
from tests.unit.rules.builders import ALLOW, a_ref, a_row, fault

GOOD = "https://good.example/c"
SUBMISSION = str(uuid5(NAMESPACE_DNS, "rules"))
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def feedback_names(count_or_urls: int | str, **changes: str) -> list[str]:
    urls = (
        count_or_urls
        if isinstance(count_or_urls, str)
        else ",".join(f"{GOOD}/{number}.docx" for number in range(count_or_urls))
    )
    row = a_row(learner_urls="", learner_file_names="", marker_urls=urls, **changes)
    return [ref.name for ref in plan_files(row, "3CODE", ALLOW)]


def test_rule_14_learner_files_come_before_feedback() -> None:
    row = a_row(
        learner_file_names="One.DOCX,two",
        learner_urls=f"{GOOD}/1.docx,{GOOD}/2,x.pdf",
        marker_urls=f"{GOOD}/3.PDF?sig=a%2Bb",
    )
    assert plan_files(row, "3CODE", ALLOW) == (
        FileRef(FileKind.SUBMISSION, 1, "One.DOCX", "docx", DOCX, URL(f"{GOOD}/1.docx")),
        FileRef(
            FileKind.SUBMISSION, 2, "two", "", "application/octet-stream", URL(f"{GOOD}/2,x.pdf")
        ),
        FileRef(
            FileKind.FEEDBACK,
            3,
            "A1_Ada-Lovelace_feedback.pdf",
            "pdf",
            "application/pdf",
            URL(f"{GOOD}/3.PDF?sig=a%2Bb", encoded=True),
        ),
    )


@pytest.mark.parametrize("blank", ["", "  "])
def test_rule_14_a_submission_without_files_fails(blank: str) -> None:
    row = a_row(learner_urls=blank, marker_urls=blank)
    message = fault(FailureCode.FILES_MISSING, lambda: plan_files(row, "3", ALLOW))
    assert message == "the row has neither learner nor marker files"


@pytest.mark.parametrize("kind", ["learner_urls", "marker_urls"])
def test_rule_14_files_of_one_kind_are_enough(kind: str) -> None:
    row = a_row(**{"learner_urls": "", "marker_urls": "", kind: f"{GOOD}/a.docx"})
    (ref,) = plan_files(row, "3", ALLOW)
    expected = FileKind.SUBMISSION if kind == "learner_urls" else FileKind.FEEDBACK
    assert (ref.kind, ref.order) == (expected, 1)


@pytest.mark.parametrize("kind", ["learner_urls", "marker_urls"])
def test_rule_14_every_url_is_checked_against_the_allow_list(kind: str) -> None:
    row = a_row(**{kind: f"{GOOD}/a.docx,https://good.example.evil.test/b.docx"})
    fault(FailureCode.SOURCE_NOT_ALLOWED, lambda: plan_files(row, "3", ALLOW))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "A1_Ada-Lovelace_feedback.docx"),
        ({"assessment_id": ""}, "3CODE_Ada-Lovelace_feedback.docx"),
        ({"first_name": "Zoë Ann", "surname": "O'Neil"}, "A1_Zo__Ann-O_Neil_feedback.docx"),
        ({"first_name": "a-b_c", "surname": "../x"}, "A1_a-b_c-___x_feedback.docx"),
        ({"first_name": "李", "surname": ""}, "A1__-_feedback.docx"),
    ],
)
def test_rule_14_a_single_feedback_file_has_no_number(changes: dict[str, str], name: str) -> None:
    assert feedback_names(1, **changes) == [name]


@pytest.mark.parametrize("count", [2, 3, 12])
def test_rule_14_several_feedback_files_are_numbered_from_1(count: int) -> None:
    assert feedback_names(count) == [
        f"A1_Ada-Lovelace_feedback_{number}.docx" for number in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("url", "extension"),
    [
        (f"{GOOD}/a.PDF", "pdf"),
        (f"{GOOD}/a.b.mp4?sig=x.y", "mp4"),
        (f"{GOOD}/a%2Epdf", "pdf"),
        (f"{GOOD}/.pdf", "pdf"),
        (f"{GOOD}/a", "docx"),
        (f"{GOOD}.d/a", "docx"),
        (f"{GOOD}/a.", "docx"),
        (f"{GOOD}/a.p df", "docx"),
        (f"{GOOD}/a.pdf%20x", "docx"),
        (f"{GOOD}/a.{'x' * 10}", "x" * 10),
        (f"{GOOD}/a.{'x' * 11}", "docx"),
        (f"{GOOD}/a.é", "docx"),
        (f"{GOOD}/a.\N{KELVIN SIGN}", "docx"),
        ("https://good.example", "docx"),
    ],
)
def test_rule_14_feedback_has_the_extension_of_its_url(url: str, extension: str) -> None:
    assert feedback_names(url) == [f"A1_Ada-Lovelace_feedback.{extension}"]


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        ("docx", DOCX),
        ("DOCX", DOCX),
        ("doc", "application/msword"),
        ("pdf", "application/pdf"),
        ("txt", "text/plain"),
        ("rtf", "application/rtf"),
        ("odt", "application/vnd.oasis.opendocument.text"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("xls", "application/vnd.ms-excel"),
        ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ("ppt", "application/vnd.ms-powerpoint"),
        ("csv", "text/csv"),
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("svg", "image/svg+xml"),
        ("html", "text/html"),
        ("zip", "application/zip"),
        ("mp3", "audio/mpeg"),
        ("mp4", "video/mp4"),
        ("msg", "application/vnd.ms-outlook"),
        ("", "application/octet-stream"),
        ("exe", "application/octet-stream"),
        ("é", "application/octet-stream"),
    ],
)
def test_content_type_follows_the_extension(extension: str, expected: str) -> None:
    assert content_type(extension) == expected


@pytest.mark.parametrize(
    "extension",
    [
        "gif",
        "webp",
        "htm",
        "xml",
        "json",
        "7z",
        "rar",
        "m4a",
        "wav",
        "mov",
        "avi",
        "webm",
        "eml",
        "py",
        "java",
    ],
)
def test_common_extensions_have_a_content_type(extension: str) -> None:
    assert re.fullmatch(
        r"(application/(?!octet-stream)|audio/|image/|message/|text/|video/)[a-z0-9.+-]+",
        content_type(extension),
    )


@pytest.mark.parametrize(
    ("name", "extension", "safe"),
    [
        ("essay.docx", "docx", "essay.docx"),
        ("Essay.DOCX", "docx", "Essay.docx"),
        ("My essay (1).docx", "docx", "My_essay__1_.docx"),
        ("é.pdf", "pdf", "_.pdf"),
        ("a/b\\c.pdf", "pdf", "a_b_c.pdf"),
        ("../../etc/passwd", "", "_._etc_passwd"),
        ("a..b...docx", "docx", "a.b.docx"),
        (".hidden", "hidden", "file.hidden"),
        ("...", "", "file"),
        ("", "", "file"),
        (".docx", "docx", "file.docx"),
        ("a.tar.gz", "gz", "a.tar.gz"),
        ("noext", "", "noext"),
        ("ends.", "", "ends"),
        ("a\x00b\n.txt", "txt", "a_b_.txt"),
        ("%2e%2e.txt", "txt", "_2e_2e.txt"),
        ("x" * 300 + ".docx", "docx", "x" * 195 + ".docx"),
        ("x" * 300, "", "x" * 200),
        ("x" * 194 + "..y.docx", "docx", "x" * 194 + ".docx"),
        ("X.X.docx", "docx", "X.X.docx"),
    ],
)
def test_rule_14_unsafe_characters_of_a_blob_name_are_replaced(
    name: str, extension: str, safe: str
) -> None:
    found = blob_name(7, SUBMISSION, a_ref(name, extension, order=3))
    assert found == f"LTI_Uploads/rogo_7/{SUBMISSION}/3_{safe}"


def test_feedback_and_learner_blobs_have_different_folders() -> None:
    found = blob_name(12, SUBMISSION, a_ref("f.docx", kind=FileKind.FEEDBACK, order=2))
    assert found == f"Marker_files/rogo_12/{SUBMISSION}/2_f.docx"


HOSTILE = st.text() | st.text("./\\%\x00\n\x85aA\u202e", max_size=400)
BLOB_NAME = re.compile(
    rf"(LTI_Uploads|Marker_files)/rogo_[0-9]+/{SUBMISSION}/[0-9]+_[A-Za-z0-9_-][A-Za-z0-9._-]*"
)


@given(HOSTILE, HOSTILE, st.sampled_from(FileKind), st.integers(1, 2**31 - 1))
def test_rule_14_a_blob_name_is_safe_for_any_input(
    name: str, extension: str, kind: FileKind, attempt: int
) -> None:
    found = blob_name(attempt, SUBMISSION, a_ref(name, extension, kind=kind, order=999_999))
    assert BLOB_NAME.fullmatch(found)
    assert ".." not in found
    assert not found.endswith(".")
    assert len(found) < 1_024


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.text("./\\%Aéx", max_size=30))
def test_planned_files_have_safe_blob_names_and_extensions(
    first: str, surname: str, assessment_id: str, names: str, tail: str
) -> None:
    row = a_row(
        first_name=first,
        surname=surname,
        assessment_id=assessment_id,
        learner_file_names=names,
        learner_urls=f"{GOOD}/{tail}",
        marker_urls=f"{GOOD}/{tail},{GOOD}/b{tail}",
    )
    try:
        refs = plan_files(row, "3", ALLOW)
    except RowError as raised:
        assert raised.code is FailureCode.SOURCE_NOT_ALLOWED
        assert "\\" in tail
        return
    assert [ref.order for ref in refs] == [1, 2, 3]
    for ref in refs:
        assert ref.name
        assert re.fullmatch(r"([a-z0-9]{1,10})?", ref.extension)
        assert ref.content_type == content_type(ref.extension)
        found = blob_name(7, SUBMISSION, ref)
        assert BLOB_NAME.fullmatch(found)
        assert ".." not in found
        if ref.extension:
            assert found.endswith(f".{ref.extension}")


@given(HOSTILE, HOSTILE, st.sampled_from(FileKind), st.integers(1, 2**31 - 1))
def test_the_owner_of_a_blob_is_read_from_its_name(
    name: str, extension: str, kind: FileKind, attempt: int
) -> None:
    blob = blob_name(attempt, SUBMISSION, a_ref(name, extension, kind=kind, order=12))
    assert owner_of_blob(blob) == BlobOwner(kind, attempt, SUBMISSION, 12)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "other",
        f"Other/rogo_7/{SUBMISSION}/1_a.docx",
        f"LTI_Uploads/rogo_2147483648/{SUBMISSION}/1_a.docx",
        f"LTI_Uploads/rogo_x/{SUBMISSION}/1_a.docx",
        f"LTI_Uploads/rogo_7/{SUBMISSION.upper()}/1_a.docx",
        f"LTI_Uploads/rogo_7/{SUBMISSION}/_a.docx",
        f"LTI_Uploads/rogo_7/{SUBMISSION}/1_a/b.docx",
        f"LTI_Uploads/rogo_7/{SUBMISSION}/1_",
        f"x/LTI_Uploads/rogo_7/{SUBMISSION}/1_a.docx",
    ],
)
def test_a_blob_of_another_name_has_no_owner(name: str) -> None:
    assert owner_of_blob(name) is None


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0.0 MB"),
        (1, "0.0 MB"),
        (104_858, "0.1 MB"),
        (1_048_576, "1.0 MB"),
        (1_258_291, "1.2 MB"),
        (2 * 1024**3, "2048.0 MB"),
    ],
)
def test_file_size_is_formatted_with_its_unit(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("", ()),
        ("  ", ()),
        ("https://h/a", ("https://h/a",)),
        (" https://h/a ", ("https://h/a",)),
        ("https://h/a,https://h/b", ("https://h/a", "https://h/b")),
        ("https://h/a , \n http://h/b", ("https://h/a", "http://h/b")),
        ("https://h/a,HTTPS://h/b", ("https://h/a", "HTTPS://h/b")),
        ("https://h/a, b,c.docx,https://h/d", ("https://h/a, b,c.docx", "https://h/d")),
        ("https://h/a,httpsx://h/b", ("https://h/a,httpsx://h/b",)),
        ("https://h/ahttps://h/b", ("https://h/ahttps://h/b",)),
        (",https://h/a", ("https://h/a",)),
        ("ftp://h/a", ("ftp://h/a",)),
        ("nonsense", ("nonsense",)),
    ],
)
def test_a_comma_separates_urls_only_before_a_scheme(cell: str, urls: tuple[str, ...]) -> None:
    assert split_urls(cell) == urls


NAMES_WITH_COMMAS = st.text("ab, .%", min_size=1, max_size=8).map(lambda name: f"x{name}x")


@given(st.lists(NAMES_WITH_COMMAS, max_size=4))
def test_joined_urls_are_split_again(names: list[str]) -> None:
    urls = tuple(f"https://good.example/{name}" for name in names)
    assert split_urls(",".join(urls)) == urls


@pytest.mark.parametrize(
    ("cell", "urls", "names"),
    [
        ("a.docx", ("https://h/x/b.docx",), ("a.docx",)),
        ("a.docx, b.pdf ", ("https://h/1", "https://h/2"), ("a.docx", "b.pdf")),
        # one URL: the whole cell
        ("a, b.docx", ("https://h/x/1733350000000_a%2C%20b.docx",), ("a, b.docx",)),
        (" a,b,,c.docx, ", ("https://h/x",), ("a,b,,c.docx,",)),
        ("1733350000000_a.docx", ("https://h/x",), ("1733350000000_a.docx",)),
        ("", ("https://h/x/1733350000000_a%2C%20b.docx",), ("a, b.docx",)),
        # the counts disagree
        ("a.docx", ("https://h/1.doc", "https://h/2.doc"), ("1.doc", "2.doc")),
        ("a,b,c", ("https://h/1.doc", "https://h/2.doc"), ("1.doc", "2.doc")),
        # an empty name in a list of the right length
        ("", ("https://h/x/b%20c.docx?sig=a/b",), ("b c.docx",)),
        ("a.docx,", ("https://h/1.doc", "https://h/2.doc"), ("a.docx", "2.doc")),
        # the timestamp in the names of the source's blobs
        ("a,b,c", ("https://h/1733350000000_1.doc", "https://h/2.doc"), ("1.doc", "2.doc")),
        ("a,", ("https://h/1.doc", "https://h/1733350000000_2.doc"), ("a", "2.doc")),
        ("", ("https://h/1733350000000_1733350000001_a.doc",), ("1733350000001_a.doc",)),
        ("", ("https://h/173335000000%30%5F%20a.doc",), ("a.doc",)),
        ("", ("https://h/173335000000_a.doc",), ("173335000000_a.doc",)),
        ("", ("https://h/17333500000000_a.doc",), ("17333500000000_a.doc",)),
        ("", ("https://h/x1733350000000_a.doc",), ("x1733350000000_a.doc",)),
        ("", ("https://h/1733350000000-a.doc",), ("1733350000000-a.doc",)),
        ("", ("https://h/1733350000000_/a.doc",), ("a.doc",)),
        ("", ("https://h/1733350000000_",), ("file",)),
        # percent-decoding
        ("", ("https://h/caf%C3%A9,.docx",), ("café,.docx",)),
        ("", ("https://h/C# 1.docx",), ("C# 1.docx",)),
        ("", ("https://h/100%.docx",), ("100%.docx",)),
        ("", ("https://h/%ff.docx",), ("\ufffd.docx",)),
        # no name available
        ("", ("https://h",), ("file",)),
        ("", ("https://h?x=/y.docx",), ("file",)),
        ("", ("https://h/a/",), ("file",)),
        ("", ("https://h/%20",), ("file",)),
        ("", (), ()),
        ("a", (), ()),
    ],
)
def test_names_are_paired_with_urls_when_the_counts_agree(
    cell: str, urls: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert split_names(cell, urls) == names


@given(st.text(), st.lists(st.text() | st.text("/?%#,.").map("https://h".__add__), max_size=4))
def test_every_url_has_a_name(cell: str, urls: list[str]) -> None:
    names = split_names(cell, urls)
    assert len(names) == len(urls)
    assert all(name.strip() for name in names)
