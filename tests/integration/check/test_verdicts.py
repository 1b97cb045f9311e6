"""What ``check`` makes of signatures, clocks, drivers and endings, without any server."""

from datetime import UTC, datetime, timedelta

import pytest

from rogo_async.commands.check.probe import compared
from rogo_async.commands.check.results import Findings, State, Verdict, fail, ok, told, warning
from rogo_async.commands.check.source_files import sas_verdict
from rogo_async.commands.check.warehouse import _aged
from rogo_async.common.shutdown import ExitCode
from rogo_async.sources.warehouse.drivers import Driver

NOW = datetime(2025, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("token", "state", "says"),
    [
        (None, State.OK, "no SAS"),
        ("sp=r&se=2025-03-06T00:00:00Z&sig=x", State.OK, "2025-03-06 00:00"),
        ("sp=racwl&se=2025-03-06&sig=x", State.OK, "2025-03-06 00:00"),
        ("sp=r&se=2025-03-05T11%3A59%3A00Z&sig=x", State.WARNING, "within a day"),
        ("sp=r&se=2025-03-05T12%3A01%3A00Z&sig=x", State.OK, "2025-03-05 12:01"),
        ("sp=r&se=2025-03-04T12:00:00Z&sig=x", State.FAIL, "expired at 2025-03-04 12:00"),
        ("sp=r&se=2025-03-04T14:30:00%2B02:00&sig=x", State.WARNING, "within a day"),
        ("sp=wl&se=2025-03-06T00:00:00Z&sig=x", State.FAIL, "reading"),
        ("se=2025-03-06T00:00:00Z&sig=x", State.FAIL, "reading"),
        ("sp=r&se=2025-03-06T00:00:00Z", State.FAIL, "no signature"),
        ("sp=r&st=2025-03-04T13:00:00Z&se=2025-03-06T00:00:00Z&sig=x", State.FAIL, "13:00"),
        ("sp=r&sig=x", State.FAIL, "no time of expiry"),
        ("sp=r&se=soon&sig=x", State.FAIL, "no time of expiry"),
        ("si=policy&sig=x", State.OK, "policy"),
        ("ss=b&srt=sc&sp=r&se=2025-03-06&sig=x", State.FAIL, "not for blobs"),
        ("ss=b&srt=sco&sp=r&se=2025-03-06&sig=x", State.OK, "2025-03-06"),
    ],
)
def test_a_sas(token: str | None, state: State, says: str) -> None:
    verdict = sas_verdict("https://files.example:443", token, NOW)
    assert verdict.state is state
    assert says in verdict.what
    assert bool(verdict.remedy) is (state is not State.OK)


@pytest.mark.parametrize(
    ("skew_s", "state", "says"),
    [
        (0, State.OK, "within 1 s"),
        (29, State.OK, "within 29 s"),
        (31, State.WARNING, "31 s ahead of ours"),
        (-31, State.WARNING, "31 s behind ours"),
        (299, State.WARNING, "299 s ahead of ours"),
        (-301, State.FAIL, "301 s behind ours"),
        (86_400, State.FAIL, "86,400 s ahead of ours"),
    ],
)
def test_a_clock(skew_s: int, state: State, says: str) -> None:
    """The answer took ten seconds: our time is taken from the middle of them."""
    there = NOW + timedelta(seconds=skew_s)
    before, after = NOW - timedelta(seconds=5), NOW + timedelta(seconds=5)
    verdict = compared(there, before, after, "the store's")
    assert verdict.state is state
    assert says in verdict.what


@pytest.mark.parametrize(
    ("name", "version", "state"),
    [
        ("ODBC Driver 18 for SQL Server", "18.06.0002", State.OK),
        ("ODBC Driver 17 for SQL Server", "", State.OK),
        ("ODBC Driver 13 for SQL Server", "17.00.0000", State.WARNING),
        ("/lib/libmsodbcsql-18.6.so.2.1", "", State.OK),
        ("/lib/libmsodbcsql-11.0.so", "", State.WARNING),
        ("FreeTDS", "01.03.0017", State.OK),
        ("FreeTDS", "0.91", State.WARNING),
        ("FreeTDS", "", State.OK),
        ("PostgreSQL Unicode", "9.5", State.OK),
    ],
)
def test_the_age_of_a_driver(name: str, version: str, state: State) -> None:
    assert _aged(Driver.named(name), version, name).state is state


AWAY = Verdict(State.FAIL, "no answer", "See that it runs", away=True)


@pytest.mark.parametrize(
    ("verdicts", "readable", "faulty", "code"),
    [
        ([ok("x"), warning("y", "z")], True, False, ExitCode.DONE),
        ([ok("x"), fail("y", "z")], True, False, ExitCode.SOME_FAILED),
        ([fail("y", "z"), AWAY], True, False, ExitCode.STOPPED_EARLY),
        ([AWAY], False, False, ExitCode.SETUP),
        ([AWAY], False, True, ExitCode.INTERNAL),
    ],
)
def test_the_exit_code(
    verdicts: list[Verdict], readable: bool, faulty: bool, code: ExitCode
) -> None:
    findings = Findings(faulty=faulty)
    for number, verdict in enumerate(verdicts):
        findings.add(f"x.{number}", verdict)
    assert findings.exit_code(settings_readable=readable) is code


async def test_what_hangs_on_what_was_left_out_names_the_cause_of_both() -> None:
    findings = Findings()
    findings.add("a.first", fail("wrong", "mend it"))
    findings.skip("a.second", "a.first")
    findings.skip("b.third", "a.second")
    assert [each.what for each in findings.of("b")] == ["third was not looked at: it needs a.first"]


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("there is none. Create it", "there is none", "Create it"),
        ("/srv/a.b/x.csv: missing. Put it there. Or not", "/srv/a.b/x.csv: missing", None),
        ("there is none", "there is none", ""),
    ],
)
def test_a_remedy_is_the_sentence_that_follows(text: str, what: str, remedy: str | None) -> None:
    assert told(text)[0] == what
    if remedy is not None:
        assert told(text)[1] == remedy
