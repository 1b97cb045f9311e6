"""The two CSV files: all rows come back from the end, with their line numbers.

Source: specification §1, rule 0.
"""

import asyncio
import csv
import hashlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, InputChanged, RowError, SetupError
from rogo_async.common.shard import Shard
from rogo_async.rules.mapping import attempt_number
from rogo_async.rules.records import MappingRow, SourceRow
from rogo_async.sources.mapping_csv import load_mapping
from rogo_async.sources.submissions_csv import USED_COLUMNS, SubmissionsFile, attempt_of

COLUMNS = ("Membership Number", *USED_COLUMNS, "Timestamp", "Error")
WIDTH = len(COLUMNS)
ATTEMPT = COLUMNS.index("Attempt ID")

# The csv module quotes every lone carriage return, and reads every text back.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
rows = st.lists(st.lists(texts, min_size=WIDTH, max_size=WIDTH), max_size=12)


def row(attempt: object, **cells: str) -> list[str]:
    """A row of COLUMNS with these values; other cells are empty."""
    filled = {"Attempt ID": str(attempt), **cells}
    return [filled.get(name, "") for name in COLUMNS]


def written(path: Path, *lines: list[str], header: tuple[str, ...] = COLUMNS) -> Path:
    """A file of these rows, as the csv module writes it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    return path


async def rows_of(path: Path) -> list[SourceRow]:
    """All rows, the newest first."""
    file = await SubmissionsFile.open(path)
    try:
        return [row async for chunk in file.chunks_from_end() for row in chunk]
    finally:
        file.close()


def read(path: Path) -> list[SourceRow]:
    """``rows_of`` for tests without an event loop."""
    return asyncio.run(rows_of(path))


def attempt_cells(lines: list[list[str]]) -> list[str]:
    """The attempt's cell of each line, trimmed."""
    return [line[ATTEMPT].strip() for line in lines]


@given(rows, st.booleans(), st.sampled_from(["\r\n", "\n"]))
@example(cells=[["NULL"] * WIDTH, [" null "] * WIDTH], with_mark=False, line_end="\n")
@example(cells=[["\n0", *[""] * (WIDTH - 2), "\n"]], with_mark=False, line_end="\r\n")
@settings(max_examples=75, deadline=None)
def test_all_rows_come_back_from_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[list[str]],
    with_mark: bool,
    line_end: str,
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *cells])
    path = tmp_path_factory.mktemp("csv") / "file.csv"
    path.write_bytes((b"\xef\xbb\xbf" if with_mark else b"") + text.getvalue().encode())

    found = read(path)

    assert [each.cells for each in found] == [tuple(each[:-1]) for each in reversed(cells)]
    attempts = ["" if text.upper() == "NULL" else text for text in attempt_cells(cells)]
    assert [each.attempt_id for each in found] == attempts[::-1]


def test_line_numbers_count_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    head = ",".join(COLUMNS)
    broken = '"two\nlines"' + "," * (WIDTH - 1)
    plain = "x" + "," * (WIDTH - 1)
    path.write_text(f"{head}\n{broken}\n\n   \n{plain}\n", encoding="utf-8")
    assert [each.line for each in read(path)] == [6, 2]


@pytest.mark.parametrize("count", [255, 256, 257, 700])
def test_every_row_is_read_once_for_any_chunk_size(tmp_path: Path, count: int) -> None:
    path = written(tmp_path / "file.csv", *(row(n) for n in range(1, count + 1)))
    assert [each.attempt_id for each in read(path)] == [str(n) for n in range(count, 0, -1)]


@pytest.mark.parametrize(
    ("line", "cells"),
    [("1,2", WIDTH and 2), (",".join("x" * (WIDTH + 3)), WIDTH + 3)],
)
def test_rule_0_a_line_with_too_few_or_too_many_cells_is_malformed(
    tmp_path: Path, line: str, cells: int
) -> None:
    path = written(tmp_path / "file.csv", row(7))
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    bad, good = read(path)
    assert bad.malformed == f"line 3 has {cells} cells, the header has {WIDTH}"
    assert bad.cells[:2] == tuple(line.split(",")[:2])
    assert len(bad.cells) == WIDTH - 1
    assert good.malformed is None


def test_rule_0_a_stray_carriage_return_ends_a_row_and_spares_the_others(tmp_path: Path) -> None:
    path = written(tmp_path / "file.csv", row(1), row(2), row(3))
    text = path.read_bytes().replace(b"2,", b"2\r,", 1)
    path.write_bytes(text)
    after, rest, part, before = read(path)
    assert part.malformed is not None
    assert part.malformed.startswith("line 3 ")
    assert rest.malformed is not None
    assert (after.attempt_id, before.attempt_id) == ("3", "1")
    assert (after.malformed, before.malformed) == (None, None)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", ["\r", ""])
def test_carriage_returns_alone_end_rows(tmp_path: Path, mark: bytes, last: str) -> None:
    """Excel for the Mac writes such files."""
    lines = [",".join(COLUMNS), *(",".join(row(n)) for n in range(1, 701))]
    lines[300] = ",".join(row(300)[:-1]) + ',"two\rlines, é"'
    path = tmp_path / "file.csv"
    path.write_bytes(mark + ("\r".join(lines) + last).encode())
    found = read(path)
    assert [each.attempt_id for each in found] == [str(n) for n in range(700, 0, -1)]
    assert not [each.malformed for each in found if each.malformed]
    assert (found[-1].line, found[0].line) == (2, 702)


def test_files_with_several_kinds_of_line_ends_are_read_in_full(tmp_path: Path) -> None:
    parts = [",".join(COLUMNS) + "\r\n"]
    parts += [",".join(row(n)) + "\n\r\n"[n % 3 : n % 3 + 1 + (n % 3 == 1)] for n in range(1, 601)]
    path = tmp_path / "file.csv"
    path.write_text("".join(parts), encoding="utf-8", newline="")
    assert [each.attempt_id for each in read(path)] == [str(n) for n in range(600, 0, -1)]


async def test_a_mapping_with_carriage_returns_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_bytes(
        b"Attempt ID,Unit Code Version,Submission\r7,24_01,Attempt 1\r8,25_01,Attempt 2"
    )
    mapping = await load_mapping(path)
    assert mapping.get(7) == MappingRow("24_01", "Attempt 1")
    assert mapping.get(8) == MappingRow("25_01", "Attempt 2")


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (r'"He said \"hi\""', "a quote inside a quoted cell"),
        (r'"He said \"hi, there\""', "a quote inside a quoted cell"),
        ('"a "quoted" word"', "a quote inside a quoted cell"),
        ('"note"more', "a quote inside a quoted cell"),
        ('"note" ', "a quote inside a quoted cell"),
        (' "note"', "a blank before the quote"),
        ('\t"note"', "a blank before the quote"),
        ('\N{NO-BREAK SPACE}"note"', "a blank before the quote"),
        ("\tnote", None),
        (' "note" more', "a quote inside a quoted cell"),
        ('"note', "a quote is not closed"),
        (r'"note\"', None),
        ('"a ""quoted"" word"', None),
        ('" ""quoted"" at its start"', None),
        ('5" pipe', None),
        (' 5 " pipe', None),
        ('"note, ""quoted"""', None),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_rule_0_quotes_that_rfc_4180_forbids_make_a_row_malformed(
    tmp_path: Path, last: str, says: str | None, position: int
) -> None:
    lines = numbered(1, 2, 3)
    lines[position] = lines[position].replace('"note"', last)
    path = tmp_path / "file.csv"
    path.write_text(",".join(COLUMNS) + "\n" + "".join(lines), encoding="utf-8")
    found = read(path)[::-1]
    assert [each.attempt_id for each in found] == ["1", "2", "3"]
    malformed = found.pop(position).malformed
    if says is None:
        assert malformed is None
    else:
        assert malformed is not None
        assert says in malformed
    assert [each.malformed for each in found] == [None, None]


def test_rule_0_a_row_that_was_malformed_is_malformed_again(tmp_path: Path) -> None:
    path = written(
        tmp_path / "file.csv",
        row(1, Error="row_malformed: line 9 has 3 cells, the header has 23"),
        row(2, Error="report_missing: no report"),
    )
    plain, again = read(path)
    assert plain.malformed is None
    assert again.malformed == "line 9 has 3 cells, the header has 23"


def test_an_error_column_is_not_among_the_cells_of_a_row(tmp_path: Path) -> None:
    header = ("Error", *(name for name in COLUMNS if name != "Error"))
    line = ["old: text", *(f"c{n}" for n in range(WIDTH - 1))]
    path = written(tmp_path / "file.csv", line, header=header)
    (found,) = read(path)
    assert found.cells == tuple(line[1:])


def test_quotes_inside_a_cell_swallow_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    lines = [",".join(COLUMNS)] + [f'5" pipe,{n}' + "," * (WIDTH - 2) for n in range(5)]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert len(read(path)) == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "no header"),
        ("é".encode("latin-1"), "line 1: not valid UTF-8"),
        (",".join(COLUMNS).encode() + b"\nx\n\xff\xfe", "line 3: not valid UTF-8"),
        (b"Attempt ID,Surname\n", "First Name, Learner Email, Assessment ID"),
        (",".join([*COLUMNS, "Surname"]).encode(), "duplicate columns: Surname"),
        (f'{",".join(COLUMNS)},"open\n1,2\n'.encode(), "line 1: malformed header: a quote is not"),
        (f'"Attempt" ID,{",".join(COLUMNS)}\n'.encode(), "malformed header: a quote inside"),
        (f'{",".join(COLUMNS)}, "More"\n'.encode(), "malformed header: a blank before"),
        (f'{",".join(COLUMNS)},"open\n1,"\n'.encode(), "malformed header: a line break"),
    ],
)
def test_an_unusable_file_is_rejected(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(SetupError) as caught:
        read(path)
    assert any(says in problem for problem in caught.value.problems)
    assert all(str(path) in problem for problem in caught.value.problems)


def numbered(*attempts: int) -> list[str]:
    """Lines of an exporter that quotes the last cell."""
    return [",".join(row(n)[:-1]) + ',"note"\n' for n in attempts]


@pytest.mark.parametrize("last", ['"open', '"open ""', '"', '"open" more'])
@pytest.mark.parametrize("position", range(4))
def test_a_stray_quote_swallows_no_rows(tmp_path: Path, last: str, position: int) -> None:
    lines = numbered(1, 2, 3, 4)
    lines[position] = lines[position].replace('"note"', last)
    path = tmp_path / "file.csv"
    path.write_text(",".join(COLUMNS) + "\n" + "".join(lines), encoding="utf-8")
    found = read(path)
    assert [each.attempt_id for each in found] == ["4", "3", "2", "1"]
    assert [each.line for each in found] == [5, 4, 3, 2]
    sound = [each.attempt_id for each in found if each.malformed is None]
    assert str(position + 1) not in sound
    assert len(sound) == 3


@pytest.mark.parametrize("first", [1, 254, 255, 256, 257, 511])
def test_two_stray_quotes_hide_no_rows_between_them(tmp_path: Path, first: int) -> None:
    """Together they are a valid quoted cell that contains complete rows."""
    lines = numbered(*range(1, 521))
    lines[first - 1] = lines[first - 1].replace('"note"', '"open')
    lines[first + 1] = lines[first + 1].replace('"note"', 'close"')
    lines[first] = lines[first].replace('"note"', "note")
    path = tmp_path / "file.csv"
    path.write_text(",".join(COLUMNS) + "\n" + "".join(lines), encoding="utf-8")
    found = read(path)
    assert [each.attempt_id for each in found] == [str(n) for n in range(520, 0, -1)]
    assert [each.line for each in found] == list(range(521, 1, -1))
    (malformed,) = (each for each in found if each.malformed)
    assert malformed.attempt_id == str(first)
    assert "a quote is not closed" in (malformed.malformed or "")  # or "probably" so


def test_a_stray_quote_at_a_chunks_edge_swallows_no_rows(tmp_path: Path) -> None:
    lines = numbered(*range(1, 601))
    for position in (87, 88, 343, 344):
        lines[position] = lines[position].replace('"note"', '"open')
    path = tmp_path / "file.csv"
    path.write_text(",".join(COLUMNS) + "\n" + "".join(lines), encoding="utf-8")
    found = read(path)
    assert [each.attempt_id for each in found] == [str(n) for n in range(600, 0, -1)]
    assert [each.attempt_id for each in found if each.malformed] == ["345", "344", "89", "88"]


def test_a_huge_cell_counts_as_an_unclosed_quote(tmp_path: Path) -> None:
    path = written(tmp_path / "file.csv", row(1))
    with path.open("a", encoding="utf-8") as file:
        file.write('"' + ("x" * 1023 + "\n") * 1100 + ",".join(row(2)) + "\n")
    found = read(path)
    assert (found[0].attempt_id, found[0].malformed) == ("2", None)
    assert (found[-1].attempt_id, found[-1].malformed) == ("1", None)
    assert len(found) == 1102


async def test_a_file_that_changes_stops_the_reader(tmp_path: Path) -> None:
    path = written(tmp_path / "file.csv", *(row(n) for n in range(1, 600)))
    file = await SubmissionsFile.open(path)
    try:
        chunks = file.chunks_from_end()
        await anext(chunks)
        with path.open("a", encoding="utf-8") as more:
            more.write("x\n")
        with pytest.raises(InputChanged):
            await anext(chunks)
    finally:
        file.close()


async def test_selections_combine(tmp_path: Path) -> None:
    path = written(tmp_path / "file.csv", *(row(n % 4 + 1) for n in range(12)))
    file = await SubmissionsFile.open(path)
    try:
        file.select_newest(6)
        await file.select(lambda each: attempt_of(each) in {1, 2})
        found = [each async for chunk in file.chunks_from_end() for each in chunk]
        assert [(each.attempt_id, each.line) for each in found] == [("2", 11), ("1", 10)]
        assert len(file) == 2
        file.select_newest(1)
        assert [each.line async for chunk in file.chunks_from_end() for each in chunk] == [11]
    finally:
        file.close()


@pytest.mark.parametrize("count", [1, 255, 256, 257, 344, 345, 512, 599, 600, 601])
async def test_the_newest_rows_at_any_block_boundary(tmp_path: Path, count: int) -> None:
    path = written(tmp_path / "file.csv", *(row(n) for n in range(1, 601)))
    file = await SubmissionsFile.open(path)
    try:
        file.select_newest(count)
        found = [each async for chunk in file.chunks_from_end() for each in chunk]
        wanted = range(600, max(0, 600 - count), -1)
        assert [(each.attempt_id, each.line) for each in found] == [(str(n), n + 1) for n in wanted]
    finally:
        file.close()


async def test_single_rows_at_any_block_boundary(tmp_path: Path) -> None:
    path = written(tmp_path / "file.csv", *(row(n) for n in range(1, 601)))
    file = await SubmissionsFile.open(path)
    try:
        wanted = [1, 2, 256, 257, 300, 512, 513, 600]
        await file.select(lambda each: attempt_of(each) in wanted)
        found = [each async for chunk in file.chunks_from_end() for each in chunk]
        assert [int(each.attempt_id) for each in found] == wanted[::-1]
        assert [each.line for each in found] == [n + 1 for n in wanted[::-1]]
    finally:
        file.close()


async def test_rows_that_merge_after_indexing_are_rejected(tmp_path: Path) -> None:
    path = written(tmp_path / "file.csv", *(row(n) for n in range(1, 601)))
    file = await SubmissionsFile.open(path)
    try:
        at = path.stat()
        content = path.read_bytes()
        position = content.index(b"\r\n", len(content) // 2)
        path.write_bytes(content[:position] + b",," + content[position + 2 :])
        os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
        with pytest.raises(InputChanged):
            _ = [each async for chunk in file.chunks_from_end() for each in chunk]
    finally:
        file.close()


async def test_the_mapping_uses_the_last_line_and_counts_irregular_ones(tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(
        "Attempt ID,Unit Code,Unit Code Version,Assessment ID,Submission\r\n"
        "1,U,24_01,A,Attempt 1\r\n"
        "1|2|3,U,24_01,A,Attempt 1\r\n"
        "1,U,25_01,A,Attempt 2\r\n"
        "0002,U,,A,Retake Attempt 1\r\n"
        "2,U,,A,Retake Attempt 1\r\n"
        "3\r\n",
        encoding="utf-8",
    )
    mapping = await load_mapping(path)
    first, second, short = (mapping.get(attempt) for attempt in (1, 2, 3))
    assert first is not None
    assert (first.version, first.submission) == ("25_01", "Attempt 2")
    assert second is not None
    assert (second.version, second.submission) == ("", "Retake Attempt 1")
    assert short is not None
    assert short.version == ""
    assert (mapping.lines, mapping.without_attempt, mapping.disagreeing) == (6, 1, 1)
    assert mapping.get(4) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (r'5,"U \"x\"",24_01,A,Attempt 2', "a quote inside a quoted cell"),
        (r'"5","U \"x\"",24_01,A,Attempt 2', "a quote inside a quoted cell"),
        ('5,"U,24_01,A,Attempt 2', "a quote is not closed"),
        ("5,Unit, part 2,24_01,A,Attempt 2", "6 cells, the header has 5"),
        ("5,24_01,A,Attempt 2", "4 cells, the header has 5"),
    ],
)
async def test_rule_4_a_malformed_mapping_line_is_not_used(
    tmp_path: Path, line: str, says: str
) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(
        "Attempt ID,Unit Code,Unit Code Version,Assessment ID,Submission\n"
        f"5,U,25_01,A,Attempt 1\n{line}\n6,U,24_01,A,Attempt 1\n",
        encoding="utf-8",
    )
    mapping = await load_mapping(path)
    assert (mapping.lines, mapping.malformed, mapping.disagreeing) == (3, 1, 1)
    with pytest.raises(RowError) as caught:
        attempt_number(mapping.get(5), ("24", "25"))
    assert caught.value.code is FailureCode.MAPPING_MISSING
    assert f"(line 3: {says}" in caught.value.message
    assert attempt_number(mapping.get(6), ("24",)) == 1


@pytest.mark.parametrize("text", ["NULL", " NULL ", "null"])
async def test_the_text_null_means_empty_but_not_in_names(tmp_path: Path, text: str) -> None:
    path = written(
        tmp_path / "file.csv",
        row(1, **dict.fromkeys(USED_COLUMNS[1:], text)),
        row(2, **{"First Name": "Ada", "Learner Email": "NULL@college.example"}),
    )
    other, found = await rows_of(path)
    assert (found.first_name, found.surname, found.rogo_user_name) == (text.strip(),) * 3
    assert (found.email, found.assessment_id, found.course_title, found.rogo_user_id) == ("",) * 4
    assert (found.learner_file_names, found.learner_urls, found.marker_urls) == ("",) * 3
    assert found.cells[COLUMNS.index("Learner Email")] == text
    assert other.email == "NULL@college.example"

    file = await SubmissionsFile.open(path)
    file.close()
    assert file.rows_with_null_name == 1

    mapping = tmp_path / "mapping.csv"
    mapping.write_text(
        f"Attempt ID,Unit Code Version,Submission\n1,{text},Attempt 1\n2,24_01,{text}\n",
        encoding="utf-8",
    )
    loaded = await load_mapping(mapping)
    assert loaded.get(1) == MappingRow("", "Attempt 1")
    assert loaded.get(2) == MappingRow("24_01", "")


def test_an_input_that_is_no_regular_file_is_rejected_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind in (
        (pipe, "a pipe"),
        (tmp_path, "a directory"),
        (Path("/dev/null"), "a device"),
    ):
        with pytest.raises(SetupError, match=f"{path}: {kind}, not a regular file"):
            read(path)


async def test_a_mapping_without_its_columns_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text("Attempt ID,Version\n", encoding="utf-8")
    with pytest.raises(SetupError, match="Unit Code Version, Submission"):
        await load_mapping(path)


async def test_the_shards_of_a_file_have_each_row_once_and_the_duplicates_together(
    tmp_path: Path,
) -> None:
    """Specification §7. The rows are selected before they are divided."""
    lines = [row(n, Surname=str(n)) for n in (*range(1, 600), "007", "", "x", "7")]
    lines[300] = ["too", "few"]
    path = written(tmp_path / "f.csv", *lines)
    whole = [each.line for each in await rows_of(path)]
    parts: list[list[SourceRow]] = []
    for index in range(5):
        file = await SubmissionsFile.open(path, shard=Shard(index, 5))
        try:
            file.select_newest(500)
            file.select_shard()
            found = [each async for chunk in file.chunks_from_end() for each in chunk]
            assert len(file) == len(found) > 70
            assert set(file.attempts) >= {attempt_of(each) for each in found} - {None}
            assert all(Shard(index, 5).owns(attempt, 0) for attempt in file.attempts)
        finally:
            file.close()
        assert [each.line for each in found] == sorted((e.line for e in found), reverse=True)
        parts.append(found)
    assert sorted((e.line for part in parts for e in part), reverse=True) == whole[:500]
    holders = [part for part in parts if any(attempt_of(each) == 7 for each in part)]
    assert [len([e for e in part if attempt_of(e) == 7]) for part in holders] == [2]


async def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "f.csv", row(1), row(2))
    file = await SubmissionsFile.open(path)
    try:
        assert file.digest() == hashlib.sha256(path.read_bytes()).hexdigest()
        written(path, row(3))
        with pytest.raises(InputChanged):
            file.digest()
    finally:
        file.close()
