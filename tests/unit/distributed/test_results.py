"""What a worker without the data directory sends back, and where it is put (specification §7)."""

from pathlib import Path

from rogo_async.distributed.results import packed, unpack

RUN = "20260301T010000Z-0000000a"


def test_the_journal_of_an_earlier_try_keeps_its_lines(tmp_path: Path) -> None:
    """The earlier try was killed on a worker that shares the data directory."""
    directory, remote = tmp_path / RUN / "0-of-2", tmp_path / "remote"
    for each, journal, summary in (
        (directory, b'{"n":1}\n{"n":2}\n{"torn', b"earlier"),
        (remote, b'{"n":3}\n{"n":1}\n', b"latest"),
    ):
        (each / "runs").mkdir(parents=True)
        (each / "runs" / f"{RUN}.journal.jsonl").write_bytes(journal)
        (each / "runs" / f"{RUN}.json").write_bytes(summary)
    files = packed(remote, RUN)
    for _ in range(2):
        unpack(files, directory)
        found = (directory / "runs" / f"{RUN}.journal.jsonl").read_bytes()
        assert found == b'{"n":1}\n{"n":2}\n{"n":3}\n'
    assert (directory / "runs" / f"{RUN}.json").read_bytes() == b"latest"
    unpack(files, tmp_path / "new" / RUN / "0-of-2")
    copy = tmp_path / "new" / RUN / "0-of-2" / "runs" / f"{RUN}.journal.jsonl"
    assert copy.read_bytes() == b'{"n":3}\n{"n":1}\n'
