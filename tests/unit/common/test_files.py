"""Files that are appended to or replaced: their content, also after an error (invariant 8)."""

import errno
import os
import resource
from pathlib import Path

import pytest

from rogo_async.common.files import (
    AppendFile,
    append_durably,
    csv_of,
    make_private_directory,
    write_private,
    write_private_parts,
)


def test_only_rows_with_a_lone_carriage_return_are_quoted() -> None:
    rows = [["a", 1, ""], ["b\rc", 2, ""], ['d,"e"\n', 3, None]]
    assert csv_of(rows) == 'a,1,\n"b\rc","2",""\n"d,""e""\n",3,\n'


async def test_a_file_is_continued_without_a_header_and_replaced_with_one(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "x.csv")
    file.path.write_bytes(b"old\n")
    for header, expected in ((None, b"old\n1\n"), (["A", "\u00e9"], "A,é\n1\n".encode())):
        await file.open(header)
        await file.append([["1"]])
        await file.close()
        assert file.path.read_bytes() == expected


async def test_rows_cannot_be_appended_to_a_file_that_is_not_open(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "x.csv")
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as raised:
            await file.append([["1"]])
        assert raised.value.errno == errno.EBADF
        await file.open(["A"])
        await file.close()
    assert file.path.read_bytes() == b"A\n"


def test_data_that_do_not_reach_the_disk_are_removed_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x"
    append_durably(file, b"first\n")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            append_durably(file, b"second\n")
    assert file.read_bytes() == b"first\n"
    append_durably(file, b"third\n")
    assert file.read_bytes() == b"first\nthird\n"


def test_a_file_is_replaced_by_way_of_a_draft_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    (tmp_path / "x.json.new").write_bytes(b"of a process that was killed, and longer")
    write_private(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_draft_that_cannot_be_written_takes_no_space(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_private_parts(file, [b"x" * 40_000] * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_directory_may_exist_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "runs"
    make_private_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    # Another process makes it between the look and the call.
    answers = iter([False, True])
    monkeypatch.setattr(Path, "is_dir", lambda _: next(answers))
    make_private_directory(directory)
