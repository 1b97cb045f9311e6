"""Translation of ODBC errors, as both drivers write them."""

import pytest

from rogo_async.common.errors import SystemicError, TransientError
from rogo_async.sources.warehouse.errors import DatabaseNotOpened, translate_error

MS = "[Microsoft][ODBC Driver 18 for SQL Server]"
TDS = "[FreeTDS][SQL Server]"
NO_DATABASE = 'Cannot open database "d" requested by the login. The login failed.'


def fault(*args: str) -> TransientError | SystemicError:
    found = translate_error("reports", Exception(*args), "dbo.T")
    assert isinstance(found, TransientError | SystemicError)
    assert "secret" not in str(found)
    assert "\n" not in str(found)
    return found


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("42000", f"{MS}[SQL Server]secret 'd' on server 's' (40613) (SQLDriverConnect)"),
        ("42000", f"{TDS}secret (40613) (SQLDriverConnect)"),
        ("HY000", f"{MS}[SQL Server]line\none (40501) (SQLExecDirectW)"),
        ("40001", f"{MS}[SQL Server]deadlock (1205) (SQLFetch)"),
        ("42000", f"{TDS}deadlock (1205) (SQLFetch)"),
        ("08S01", f"{MS}TCP Provider: Error code 0x2746 (10054) (SQLGetData)"),
        ("08001", f"{MS}TCP Provider: Error code 0x68 (104) (SQLDriverConnect)"),
        ("08001", f"{MS}Encryption not supported on SQL Server. (20) (SQLDriverConnect)"),
        ("HYT00", f"{MS}Login timeout expired (0) (SQLDriverConnect)"),
        ("HYT00", f"{MS}Query timeout expired (0) (SQLExecDirectW)"),
        ("HYT00", f"{TDS}Timeout expired (0) (SQLExecDirectW)"),
        ("HYT01", f"{MS}Connection timeout expired (0) (SQLExecDirectW)"),
        ("01000", f"{TDS}Unexpected EOF from the server (20017) (SQLFetch)"),
        ("08S01", f"{TDS}Adaptive Server is unavailable (20009) (SQLDriverConnect)"),
        ("08001", f"{TDS}Unable to connect to data source (0) (SQLDriverConnect)"),
        ("HY000", f"{TDS}Adaptive Server connection failed (20002) (SQLConnect)"),
        ("HY000", f"{TDS}timed out (20003) (SQLExecDirectW)"),
        ("HY000", f"{TDS}Write to the server failed (20006) (SQLExecDirectW)"),
        ("HY000", f"{TDS}Unknown error (0) (SQLExecDirectW)"),
        ("HY000", "The driver did not supply an error!"),
        ("57P01", "terminating connection due to administrator command (1) (SQLExecDirectW)"),
    ],
)
def test_transient(state: str, text: str) -> None:
    assert isinstance(fault(state, f"[{state}] {text}"), TransientError)


@pytest.mark.parametrize(
    ("state", "text", "words"),
    [
        ("28000", f"{MS}[SQL Server]Login failed (18456) (SQLDriverConnect)", "Check user and"),
        ("42000", f"{TDS}Login failed (18456) (SQLDriverConnect)", "Check user and"),
        (
            "42000",
            f"{TDS}Login failed (18456) (SQLDriverConnect); [HY000] {TDS}Connection failed (20002)",
            "Check user and",
        ),
        (
            "42S02",
            f"{MS}[SQL Server]Invalid object name (208) (SQLExecDirectW)",
            "table dbo.T does not exist",
        ),
        ("42S02", f"{TDS}Invalid (208) (SQLExecDirectW)", "table dbo.T does not exist"),
        ("42000", f"{MS}[SQL Server]denied (229) (SQLExecDirectW)", "Grant SELECT on dbo.T"),
        ("42000", f"{MS}[SQL Server]denied (230) (SQLExecDirectW)", "Grant SELECT on dbo.T"),
        ("42501", "permission denied (1) (SQLExecDirectW)", "Grant SELECT on dbo.T"),
        ("42000", f"{MS}[SQL Server]x (40615) (SQLDriverConnect)", "firewall"),
        (
            "08001",
            f"{MS}SSL Provider: [error:0A000086:SSL routines::certificate verify failed] (-1)",
            "TrustServerCertificate",
        ),
        (
            "01000",
            "[unixODBC][Driver Manager]Can't open lib 'secret' : file not found (0) (SQLConnect)",
            "not installed",
        ),
        ("IM002", "[unixODBC][Driver Manager]Data source name not found (0)", "not installed"),
        (
            "08001",
            'FATAL:  password authentication failed for user "secret" (101) (SQLDriverConnect)',
            "Check user, password and database",
        ),
        ("42000", f"{MS}[SQL Server]something new (8152) (SQLExecDirectW)", "error 8152"),
    ],
)
def test_permanent(state: str, text: str, words: str) -> None:
    found = fault(state, f"[{state}] {text}")
    assert isinstance(found, SystemicError)
    assert words in found.reason


@pytest.mark.parametrize(
    "text",
    [
        f"{MS}[SQL Server]{NO_DATABASE} (4060) (SQLDriverConnect)",
        f"{MS}[SQL Server]No (18456) (SQLConnect); [42000] {MS}[SQL Server]{NO_DATABASE} (4060)",
        f"{TDS}{NO_DATABASE} (4060) (SQLDriverConnect)",
    ],
)
def test_database_that_cannot_be_opened(text: str) -> None:
    found = fault("28000", f"[28000] {text}")
    assert isinstance(found, DatabaseNotOpened)
    assert "Check its name" in found.reason


@pytest.mark.parametrize("number", [40501, 49918, 49919, 49920, 10928, 10929])
def test_throttling_asks_for_ten_seconds(number: int) -> None:
    found = fault("HY000", f"[HY000] {MS}[SQL Server]busy ({number}) (SQLExecDirectW)")
    assert isinstance(found, TransientError)
    assert found.retry_after_s >= 10


def test_numbers_in_the_text_are_not_the_server_s() -> None:
    found = fault("42000", f"[42000] {MS}[SQL Server]at (40613) in line 3 (208) (SQLExecDirectW)")
    assert isinstance(found, SystemicError)
    assert found.reason.startswith("SQLSTATE 42000, error 208: ")


def test_error_without_anything() -> None:
    assert isinstance(fault(), SystemicError)
