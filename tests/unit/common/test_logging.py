"""Log lines: as JSON, on a terminal, and in a file that is rotated and may fail."""

import contextlib
import io
import json
import logging
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from rogo_async.common.errors import SetupError
from rogo_async.common.logging import LogFile, configure


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    handlers = logging.root.handlers[:]
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    logging.root.handlers[:] = handlers


class Stderr:
    """The output on standard error so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Stderr:
    return Stderr(capsys)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.split("\n") if line]


def test_without_a_terminal_every_line_is_a_json_object(stderr: Stderr) -> None:
    configure("json", colors=False)
    log = structlog.get_logger()
    log.info("one", attempt=7, path=Path("/x"), text='"\n\0\x1b[31m\u2028é')
    log.warning("two", number=2**70, name="\udcff", keys={1: "a"})
    one, two = lines(stderr.getvalue())
    assert (one["event"], one["level"], one["attempt"]) == ("one", "info", 7)
    assert one["text"] == '"\n\0\x1b[31m\u2028é'
    assert two["number"] == 2**70
    assert str(one["timestamp"]).endswith("Z")
    assert "\x1b" not in stderr.getvalue()


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        (logging.DEBUG, ["debug", "info", "warning"]),
        (logging.INFO, ["info", "warning"]),
        (logging.WARNING, ["warning"]),
    ],
)
def test_the_level_filters_events(
    stderr: Stderr, tmp_path: Path, level: int, seen: list[str]
) -> None:
    file = LogFile(tmp_path / "run.log", 10_000)
    configure("json", colors=False, level=level, file=file)
    log = structlog.get_logger()
    log.debug("x")
    log.info("x")
    log.warning("x")
    assert [line["level"] for line in lines(stderr.getvalue())] == seen
    assert [line["level"] for line in lines((tmp_path / "run.log").read_text())] == seen
    file.close()


def test_the_log_file_is_json_even_when_the_terminal_output_is_not(
    stderr: Stderr, tmp_path: Path
) -> None:
    path = tmp_path / "run.log"
    file = LogFile(path, 10_000)
    configure("console", colors=True, file=file)
    structlog.get_logger().info("hello", attempt=3)
    assert "\x1b[" in stderr.getvalue()
    (line,) = lines(path.read_text())
    assert line["attempt"] == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file.close()


def test_the_log_file_is_rotated_and_five_are_kept(stderr: Stderr, tmp_path: Path) -> None:
    file = LogFile(tmp_path / "run.log", 2_000)
    configure("json", colors=False, file=file)
    for number in range(300):
        structlog.get_logger().info("line", number=number)
    found = {path.name: path for path in tmp_path.iterdir()}
    assert set(found) == {"run.log", *(f"run.log.{number}" for number in range(1, 6))}
    numbers = []
    for name in ["run.log.5", "run.log.4", "run.log.3", "run.log.2", "run.log.1", "run.log"]:
        assert found[name].stat().st_size <= 2_000
        assert stat.S_IMODE(found[name].stat().st_mode) == 0o600
        numbers += [line["number"] for line in lines(found[name].read_text())]
    assert numbers == list(range(300 - len(numbers), 300))
    file.close()


def test_a_second_process_appends(stderr: Stderr, tmp_path: Path) -> None:
    for _ in range(2):
        file = LogFile(tmp_path / "run.log", 10_000)
        file.write('{"a": 1}')
        file.close()
    assert lines((tmp_path / "run.log").read_text()) == [{"a": 1}] * 2


def test_a_full_disk_is_reported_once_and_stops_nothing(stderr: Stderr) -> None:
    file = LogFile(Path("/dev/full"), 10_000)
    configure("json", colors=False, file=file)
    for _ in range(3):
        structlog.get_logger().info("line")
    events = [line["event"] for line in lines(stderr.getvalue())]
    assert events.count("line") == 3
    told = [line for line in lines(stderr.getvalue()) if "log file" in str(line["event"])]
    assert [line["reason"] for line in told] == ["No space left on device"]
    with contextlib.suppress(OSError):
        file.close()


@pytest.mark.parametrize("name", ["no/such/directory/run.log", "."])
def test_an_impossible_log_file_is_reported_at_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(SetupError, match=r"ROGO_LOG_FILE: .* cannot be written \("):
        LogFile(tmp_path / name, 10_000)


def test_a_closed_or_full_stderr_loses_only_its_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)
    with pytest.raises(OSError, match="No space"):
        full.write("x")
    monkeypatch.setattr(sys, "stderr", full)
    configure("json", colors=False)
    structlog.get_logger().info("line")
    full.close()
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    structlog.get_logger().info("line")


def test_a_librarys_warning_is_logged_without_values(stderr: Stderr) -> None:
    configure("json", colors=False)
    logging.getLogger("library").warning("cannot read %s", "Ada Lovelace")
    (line,) = lines(stderr.getvalue())
    assert line["source"] == "library"
    assert "Lovelace" not in stderr.getvalue()
