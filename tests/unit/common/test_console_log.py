"""Log lines on a terminal: short, wrapped, without Python's notation."""

import re

import pytest

from rogo_async.common import console_log
from rogo_async.common.console_log import ConsoleLines, readable

STAMP = "2026-01-31T01:15:02.123456Z"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
REMEDY = "Make sure that ROGO_INSTANCE_ID is the id that the learning management system sends"


def shown(monkeypatch: pytest.MonkeyPatch, width: int | None, **fields: object) -> list[str]:
    monkeypatch.setattr(console_log, "terminal_width", lambda: width)
    event = {"run_id": "20260131T011502Z-0a1b2c3d", **fields, "timestamp": STAMP}
    return ConsoleLines(colors=False)(None, "info", event).split("\n")


def test_the_end_of_a_run_has_no_python_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"email_missing": 2, "report_missing": 1}
    lines = shown(
        monkeypatch,
        80,
        event="run ended",
        level="info",
        exit_code=1,
        migrated=417,
        by_code=counts,
        stopped_by={},
        code=None,
    )
    assert lines == [
        "01:15:02Z [info] run ended  run_id=20260131T011502Z-0a1b2c3d  exit_code=1",
        "    migrated=417  by_code=(email_missing 2, report_missing 1)",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    event = "the target has no lms_user_id yet: this run's will begin with 'x::'"
    path = "/srv/rogo/submission_files.csv"
    fields = {"event": event, "level": "warning", "remedy": REMEDY, "file": path}
    lines = shown(monkeypatch, width, **fields)
    assert all(len(line) <= width for line in lines), lines
    words = " ".join(" ".join(lines).split())
    assert event in words
    assert f"remedy='{REMEDY}'" in words
    assert f"file={path}" in words


def test_without_a_terminal_a_line_is_one_line_with_its_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (line,) = shown(monkeypatch, None, event="inputs read", level="info", remedy=REMEDY * 3)
    assert line.startswith("2026-01-31T01:15:02Z [info] inputs read  run_id=")


def test_the_run_id_is_shown_once() -> None:
    render = ConsoleLines(colors=True)
    event = {"timestamp": STAMP, "level": "error", "event": "x", "run_id": "r-1"}
    first, second = render(None, "", dict(event)), render(None, "", dict(event))
    assert "run_id=r-1" in ANSI.sub("", first)
    assert "run_id" not in second
    assert "run_id" not in render(None, "", {"timestamp": STAMP, "level": "info", "event": "y"})
    assert "\x1b[31m" in second


def test_a_traceback_is_a_block_and_nothing_controls_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = shown(
        monkeypatch,
        80,
        event="internal\x1b[2J error",
        level="critical",
        traceback='  File "a.py", line 1\n    f(\x07)\n',
        reason="a\nb",
    )
    assert lines[-2:] == ['  File "a.py", line 1', "    f(\\x07)"]
    assert "reason='a\\nb'" in "".join(lines)
    assert "".join(lines).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (0, "0"),
        (False, "False"),
        ("word", "word"),
        ("two words", "'two words'"),
        ("", "''"),
        ({"min": 1, "median": 2.5}, "(min 1, median 2.5)"),
        ([1, "a b"], "(1, 'a b')"),
        ([], None),
        (None, None),
    ],
)
def test_a_value_is_readable(value: object, text: str | None) -> None:
    assert readable(value) == text
