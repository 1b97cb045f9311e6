"""The T-SQL server of the tests in use: tables, connection strings, an open warehouse."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency
from rogo_async.common.retry import CircuitBreaker, Probe, RetryPolicy
from rogo_async.common.shutdown import StopSignal
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.sources.warehouse.pool import Deadlines
from rogo_async.sources.warehouse.reader import Warehouse
from tests.support.fake_sql_server import Column, FakeSqlServer, Table
from tests.support.fake_sql_server.server import DATABASE, HOST, PASSWORD, USER
from tests.support.fake_sql_server.values import DateTime2, Int, Numeric, Text

DRIVERS: Final = ("microsoft", "freetds")
QUICK: Final = Deadlines(connect_s=3, query_s=1, close_s=1, grace_s=0.5)
POLICY: Final = RetryPolicy(
    wait_initial_s=0.01,
    wait_max_s=0.05,
    max_tries=3,
    deadline_s=20,
    probe_wait_initial_s=0.02,
    probe_wait_max_s=0.2,
)
REPORT_COLUMNS: Final = (
    Column("AttemptId", Int()),
    Column("TIUserId", Text(255)),
    Column("TISectionId", Text(255)),
    Column("Exercise", Text()),
    Column("MarksAchieved", Numeric()),
    Column("MarksAwarded", Numeric()),
    Column("MarksAvailable", Numeric()),
    Column("GradePercent", Numeric()),
    Column("Grade", Text(100)),
    Column("MarkerNotes", Text()),
    Column("ResultsApproved", DateTime2()),
    Column("DateInserted", DateTime2()),
    Column("DateModified", DateTime2()),
    Column("CentreName", Text(100)),
)
SCORE_COLUMNS: Final = (
    Column("AttemptId", Int()),
    Column("ScoreLabelCorrected", Text()),
    Column("Score", Numeric()),
    Column("MarkerComment", Text()),
    Column("DateInserted", DateTime2()),
    Column("DateModified", DateTime2()),
)
_MOMENT: Final = datetime(2025, 3, 4, 5, 6, 7, 123456)  # noqa: DTZ001 - naive as in the warehouse

Row = Mapping[str, Any]


def connection_string(driver: str, port: int) -> str:
    """As an operator writes it: ADO.NET syntax for Microsoft's driver, ODBC for FreeTDS."""
    if driver == "freetds":
        return (
            f"DRIVER={{FreeTDS}};SERVER={HOST};PORT={port};DATABASE={DATABASE};UID={USER};"
            f"PWD={{{PASSWORD}}};Encryption=off"
        )
    quoted = PASSWORD.replace('"', '""')
    return (
        f"Server=tcp:{HOST},{port};Initial Catalog={DATABASE};Persist Security Info=False;"
        f'User ID={USER};Password="{quoted}";MultipleActiveResultSets=False;Encrypt=False;'
        "TrustServerCertificate=False;Connection Timeout=3;"
    )


def report_row(attempt: int, **cells: Any) -> Row:
    """A valid row of Rogo_AssessmentReport."""
    return {
        "AttemptId": attempt,
        "TIUserId": f"user {attempt}",
        "TISectionId": "S1",
        "Exercise": "AB1 Ethics",
        "MarksAchieved": Decimal("61.5"),
        "MarksAvailable": Decimal(100),
        "GradePercent": Decimal("61.5"),
        "Grade": "Pass",
        "MarkerNotes": "well argued \N{OWL}",
        "DateInserted": _MOMENT,
        **cells,
    }


def score_row(attempt: int, label: str = "Question 1", **cells: Any) -> Row:
    """A valid row of Rogo_AssessmentReportScores."""
    return {
        "AttemptId": attempt,
        "ScoreLabelCorrected": label,
        "Score": Decimal("12.25"),
        "MarkerComment": "\N{OWL}",
        "DateInserted": _MOMENT,
        **cells,
    }


def tables(
    reports: Iterable[Row],
    scores: Iterable[Row],
    *,
    report_columns: Iterable[Column] = REPORT_COLUMNS,
    score_columns: Iterable[Column] = SCORE_COLUMNS,
) -> list[Table]:
    """The warehouse's two tables."""
    return [
        Table("Rogo_AssessmentReport", tuple(report_columns), reports),
        Table("Rogo_AssessmentReportScores", tuple(score_columns), scores),
    ]


def tables_of(dataset: Dataset) -> list[Table]:
    """The two tables with a generated data set's rows."""
    return tables(dataset.reports(), dataset.scores())


def retyped(columns: Iterable[Column], **types: Any) -> list[Column]:
    """The columns with other types for some of them."""
    return [Column(each.name, types.get(each.name, each.type)) for each in columns]


@asynccontextmanager
async def opened(
    text: str,
    size: int = 4,
    limit_s: float = 30.0,
    deadlines: Deadlines = QUICK,
    stop_signal: StopSignal | None = None,
) -> AsyncIterator[Warehouse]:
    """An open warehouse whose circuit breaker opens soon."""
    async with AsyncExitStack() as stack:

        def breaker_for(probe: Probe) -> CircuitBreaker:
            breaker = CircuitBreaker(
                Dependency.WAREHOUSE,
                probe,
                stop_signal or StopSignal(),
                CallStats(),
                limit_s,
                POLICY,
            )
            stack.push_async_callback(breaker.aclose)
            return breaker

        warehouse = await Warehouse.open(text, size, breaker_for, deadlines)
        stack.push_async_callback(warehouse.aclose)
        yield warehouse


def served(sql_server: FakeSqlServer, driver: str) -> str:
    """The connection string of a running server."""
    return connection_string(driver, sql_server.port)
