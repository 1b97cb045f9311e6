"""One format of settings for .env, Docker and systemd (specification §4)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import SetupError
from rogo_async.common.settings import Settings, load_settings
from tests.unit.common.test_settings import SOUND

EXAMPLE = Path(__file__).parents[3] / "docs" / "example.env"
NAMES = [name.upper() for name in Settings.model_fields]
TEXTS = ("DATA_WAREHOUSE_CONNECTION_STRING", "ROGO_CONSUMER_NAME", "ROGO_CONSUMER_KEY")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without settings, and an empty directory."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.chdir(tmp_path)


def read_by_docker(text: str) -> dict[str, str]:
    """``docker run --env-file``: all after the first = is the value."""
    lines = [line.removesuffix("\r").lstrip() for line in text.removeprefix("\ufeff").split("\n")]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    assert all(equals and name and " " not in name for name, equals, _ in pairs)
    return {name: value for name, _, value in pairs}


def read_by_systemd(text: str) -> dict[str, str]:
    """``EnvironmentFile=``: as in systemd's src/basic/env-file.c, for values in one line."""
    found = {}
    for line in text.replace("\r", "\n").split("\n"):
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        name, _, rest = line.partition("=")
        found[name.strip()] = _systemd_value(rest)
    return found


def _systemd_value(text: str) -> str:
    value, quote, escaped, started = "", "", False, False
    for character in text.strip():
        if escaped:
            value, escaped = value + character, False
        elif character == "\\" and quote != "'":
            escaped = started = True
        elif quote and character == quote:
            quote, started = "", False
        elif not quote and not started and character in "'\"":
            quote = character
        else:
            started = started or not quote
            value += character
    return value


def as_environment(read: Callable[[str], dict[str, str]], text: str) -> Settings:
    """The settings of a process that got the values of the file as its environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in read(text).items():
            patch.setenv(name, value)
        return load_settings()


def as_env_file(text: str | bytes) -> Settings:
    path = Path(".env")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        return load_settings()
    finally:
        path.unlink()


def lines(**changes: str) -> str:
    return "".join(f"{name}={value}\n" for name, value in (SOUND | changes).items())


def problems_of(read: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(SetupError) as caught:
        read()
    return caught.value.problems


def filled_in(example: str) -> str:
    """The example with values of an installation."""
    for old, new in (
        ("PASSWORD", "hunter2"),
        ("…", "1"),
        ("=KEY", "=a2V5"),
        ("=INSTANCE", "=learn.college"),
        ("=CONTAINER", "=submissions"),
        ("=Learning site", "=Our learning site"),
        ("markingfiles", "collegefiles"),
        ("rogofiles", "collegerogo"),
        (".example", ".college"),
    ):
        example = example.replace(old, new)
    return example


def test_every_value_of_the_example_is_refused_until_it_is_replaced() -> None:
    example = EXAMPLE.read_text(encoding="utf-8")
    names = [line.partition("=")[0] for line in example.splitlines() if line[:1].isalpha()]
    found = problems_of(lambda: as_env_file(example))
    refused = {text.partition(":")[0] for text in found if "value of docs/example.env" in text}
    assert refused == set(names) - {"ROGO_DATA_DIR"}


def test_the_example_means_the_same_to_all_readers() -> None:
    """Also with all optional settings that it names."""
    example = filled_in(EXAMPLE.read_text(encoding="utf-8").replace("# ROGO_", "ROGO_"))
    settings = as_env_file(example)
    assert as_environment(read_by_docker, example) == settings
    assert as_environment(read_by_systemd, example) == settings
    assert settings.rogo_consumer_name == "Our learning site"
    assert settings.data_warehouse_connection_string.get_secret_value().startswith("Server=tcp:")
    assert "ROGO_LOG_FILE" in read_by_docker(example)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\\"), min_size=1))
def test_a_value_without_outer_quotes_means_the_same_to_all_readers(value: str) -> None:
    value = value.strip()
    if not value or value.startswith(("'", '"', "#", "\ufeff")) or "\u2028" in value:
        return
    text = lines(ROGO_CONSUMER_NAME=value)
    try:
        settings = as_env_file(text)
    except SetupError as error:
        assert "comment" in str(error)  # refused, not changed
        return
    assert settings.rogo_consumer_name == value
    assert as_environment(read_by_docker, text) == settings
    assert as_environment(read_by_systemd, text) == settings


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("quote", ["", "'", '"'])
@pytest.mark.parametrize("part", ["${HOME}", "$HOME", "${X:-y}", "#1", "a;b&c=d", "it's", '"mid"'])
def test_env_file_expands_nothing(name: str, quote: str, part: str) -> None:
    if quote and quote in part:
        return
    value = f"{SOUND[name]}{part} & Co"
    settings = as_env_file(lines(**{name: f"{quote}{value}{quote}"}))
    found = getattr(settings, name.lower())
    assert (found if isinstance(found, str) else found.get_secret_value()) == value


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_password_may_look_like_a_variable(quote: str) -> None:
    url = "postgresql://writer:${HOME}$1@db.example:5432/marking"
    settings = as_env_file(lines(DATABASE_URL=f"{quote}{url}{quote}"))
    assert settings.database_url.get_secret_value() == url


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "export ", "  "])
def test_line_ends_and_starts_are_not_part_of_a_value(end: str, start: str) -> None:
    text = start + lines(ROGO_CONSUMER_NAME="Our site  ", ROGO_SOURCE_SAS_TOKEN="sv=1&sig=2 ")
    settings = as_env_file(text.replace("\n", end))
    assert settings.rogo_consumer_name == "Our site"
    assert settings.source_sas == {("https", "files.example", 443): "sv=1&sig=2"}
    assert settings.database_url.get_secret_value() == SOUND["DATABASE_URL"]


def test_the_last_of_equal_names_counts_and_an_empty_value_is_none() -> None:
    settings = as_env_file(lines() + "ROGO_CONCURRENCY=3\nROGO_CONCURRENCY=5\nROGO_LOG_FILE=\n")
    assert settings.rogo_concurrency == 5
    assert settings.rogo_log_file is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quoted", ["'24'", '"24"', "''", '"a, b" # old'])
def test_a_value_that_arrives_in_quotes_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, quoted: str
) -> None:
    for sound, value in SOUND.items():
        monkeypatch.setenv(sound, value)
    monkeypatch.setenv(name, quoted)
    problems = problems_of(load_settings)
    assert any(problem.startswith(f"{name}: ") and "quotes" in problem for problem in problems)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("ROGO_CONSUMER_NAME=Learning site # the old one", "ROGO_CONSUMER_NAME"),
        ("ROGO_MAX_DURATION='18000", "line 12"),
        ("ROGO_MAX_DURATION='18000'x", "line 12"),
        ("\n\nROGO_MAX_DURATION", "ROGO_MAX_DURATION"),
        ("\n\nROGO_MAX_DURATION", "line 14"),
        ('ROGO_CONSUMER_NAME="Learning\nsite"', "ROGO_CONSUMER_NAME: contains a line break"),
        ('ROGO_CONSUMER_NAME="pa\\new"', "ROGO_CONSUMER_NAME: contains a line break"),
        ("ROGO_CONSUMER_NAME=a\0b", "ROGO_CONSUMER_NAME: contains"),
        ("ROGO_CONSUMER_NAME=\"'x'\"", "ROGO_CONSUMER_NAME: is in quotes"),
    ],
)
def test_a_line_that_would_be_misread_is_refused(line: str, named: str) -> None:
    (problem,) = problems_of(lambda: as_env_file(f"# First\n{lines()}{line}\n"))
    assert named in problem
    assert "18000" not in problem


def test_bytes_that_are_not_utf_8_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = lines(ROGO_CONSUMER_NAME="Hochschule Köln").encode("latin-1")
    assert "UTF-8" in problems_of(lambda: as_env_file(text))[0]
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    broken = os.fsdecode(b"K\xf6ln")
    for name in ("ROGO_CONSUMER_NAME", "DATABASE_URL", "ROGO_SOURCE_HOSTS"):
        monkeypatch.setenv(name, broken)
    problems = problems_of(load_settings)
    assert [problem.partition(":")[0] for problem in problems if "UTF-8" in problem] == [
        "DATABASE_URL",
        "ROGO_SOURCE_HOSTS",
        "ROGO_CONSUMER_NAME",
    ]


def test_a_wrapped_secret_is_not_shown() -> None:
    text = lines() + "AZURE_STORAGE_ACCOUNT_KEY=c2VjcmV0\nc2Vjb25kaGFsZg\n"
    (problem,) = problems_of(lambda: as_env_file(text))
    assert "has no value" in problem
    assert "c2Vjb25kaGFsZg" not in problem
