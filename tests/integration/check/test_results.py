"""Results of single checks (SAS, clock, driver age), exit codes and remedies; no servers."""

from datetime import UTC, datetime, timedelta

import pytest

from rogo_async.commands.check.probe import compare_clocks
from rogo_async.commands.check.results import (
    CheckReport,
    CheckResult,
    CheckStatus,
    fail,
    ok,
    split_remedy,
    warning,
)
from rogo_async.commands.check.source_files import check_sas
from rogo_async.commands.check.warehouse import _driver_result
from rogo_async.common.shutdown import ExitCode
from rogo_async.sources.warehouse.drivers import Driver

NOW = datetime(2025, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("token", "status", "says"),
    [
        (None, CheckStatus.OK, "no SAS set"),
        ("sp=r&se=2025-03-06T00:00:00Z&sig=x", CheckStatus.OK, "2025-03-06 00:00"),
        ("sp=racwl&se=2025-03-06&sig=x", CheckStatus.OK, "2025-03-06 00:00"),
        ("sp=r&se=2025-03-05T11%3A59%3A00Z&sig=x", CheckStatus.WARNING, "within 24 hours"),
        ("sp=r&se=2025-03-05T12%3A01%3A00Z&sig=x", CheckStatus.OK, "2025-03-05 12:01"),
        ("sp=r&se=2025-03-04T12:00:00Z&sig=x", CheckStatus.FAIL, "expired at 2025-03-04 12:00"),
        ("sp=r&se=2025-03-04T14:30:00%2B02:00&sig=x", CheckStatus.WARNING, "within 24 hours"),
        ("sp=wl&se=2025-03-06T00:00:00Z&sig=x", CheckStatus.FAIL, "read permission"),
        ("se=2025-03-06T00:00:00Z&sig=x", CheckStatus.FAIL, "read permission"),
        ("sp=r&se=2025-03-06T00:00:00Z", CheckStatus.FAIL, "no signature"),
        ("sp=r&st=2025-03-04T13:00:00Z&se=2025-03-06T00:00:00Z&sig=x", CheckStatus.FAIL, "13:00"),
        ("sp=r&sig=x", CheckStatus.FAIL, "no valid expiry time"),
        ("sp=r&se=soon&sig=x", CheckStatus.FAIL, "no valid expiry time"),
        ("si=policy&sig=x", CheckStatus.OK, "policy"),
        ("ss=b&srt=sc&sp=r&se=2025-03-06&sig=x", CheckStatus.FAIL, "not valid for blobs"),
        ("ss=b&srt=sco&sp=r&se=2025-03-06&sig=x", CheckStatus.OK, "2025-03-06"),
    ],
)
def test_sas_permissions_and_times(token: str | None, status: CheckStatus, says: str) -> None:
    result = check_sas("https://files.example:443", token, NOW)
    assert result.status is status
    assert says in result.message
    assert bool(result.remedy) is (status is not CheckStatus.OK)


@pytest.mark.parametrize(
    ("skew_s", "status", "says"),
    [
        (0, CheckStatus.OK, "less than 1 s"),
        (29, CheckStatus.OK, "less than 29 s"),
        (31, CheckStatus.WARNING, "31 s ahead of this machine's"),
        (-31, CheckStatus.WARNING, "31 s behind this machine's"),
        (299, CheckStatus.WARNING, "299 s ahead of this machine's"),
        (-301, CheckStatus.FAIL, "301 s behind this machine's"),
        (86_400, CheckStatus.FAIL, "86,400 s ahead of this machine's"),
    ],
)
def test_clock_skew(skew_s: int, status: CheckStatus, says: str) -> None:
    """The answer took ten seconds; the local time is that of the middle."""
    there = NOW + timedelta(seconds=skew_s)
    before, after = NOW - timedelta(seconds=5), NOW + timedelta(seconds=5)
    result = compare_clocks(there, before, after, "the store's")
    assert result.status is status
    assert says in result.message


@pytest.mark.parametrize(
    ("name", "version", "status"),
    [
        ("ODBC Driver 18 for SQL Server", "18.06.0002", CheckStatus.OK),
        ("ODBC Driver 17 for SQL Server", "", CheckStatus.OK),
        ("ODBC Driver 13 for SQL Server", "17.00.0000", CheckStatus.WARNING),
        ("/lib/libmsodbcsql-18.6.so.2.1", "", CheckStatus.OK),
        ("/lib/libmsodbcsql-11.0.so", "", CheckStatus.WARNING),
        ("FreeTDS", "01.03.0017", CheckStatus.WARNING),
        ("FreeTDS", "0.91", CheckStatus.WARNING),
        ("FreeTDS", "", CheckStatus.WARNING),
        ("PostgreSQL Unicode", "9.5", CheckStatus.OK),
    ],
)
def test_driver_age(name: str, version: str, status: CheckStatus) -> None:
    assert _driver_result(Driver.named(name), version, name).status is status


UNREACHABLE = CheckResult(
    CheckStatus.FAIL, "no answer", "Check that it is running", unreachable=True
)


@pytest.mark.parametrize(
    ("results", "settings_valid", "internal_error", "code"),
    [
        ([ok("x"), warning("y", "z")], True, False, ExitCode.DONE),
        ([ok("x"), fail("y", "z")], True, False, ExitCode.SOME_FAILED),
        ([fail("y", "z"), UNREACHABLE], True, False, ExitCode.STOPPED_EARLY),
        ([UNREACHABLE], False, False, ExitCode.SETUP),
        ([UNREACHABLE], False, True, ExitCode.INTERNAL),
    ],
)
def test_exit_code(
    results: list[CheckResult], settings_valid: bool, internal_error: bool, code: ExitCode
) -> None:
    report = CheckReport(has_internal_error=internal_error)
    for number, result in enumerate(results):
        report.add(f"x.{number}", result)
    assert report.exit_code(settings_valid=settings_valid) is code


async def test_skipped_check_names_the_root_cause() -> None:
    report = CheckReport()
    report.add("a.first", fail("wrong", "fix it"))
    report.skip("a.second", "a.first")
    report.skip("b.third", "a.second")
    assert [line.result.message for line in report.lines_of("b")] == [
        "third skipped: needs a.first"
    ]


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("there is none. Create it", "there is none", "Create it"),
        ("/srv/a.b/x.csv: missing. Put it there. Or not", "/srv/a.b/x.csv: missing", None),
        ("there is none", "there is none", ""),
    ],
)
def test_remedy_is_the_second_sentence(text: str, message: str, remedy: str | None) -> None:
    assert split_remedy(text)[0] == message
    if remedy is not None:
        assert split_remedy(text)[1] == remedy
