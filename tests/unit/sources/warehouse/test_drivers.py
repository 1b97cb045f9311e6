"""Choice of the ODBC driver."""

import ctypes
from pathlib import Path

import pyodbc
import pytest

from rogo_async.common.errors import SetupError
from rogo_async.sources.warehouse import drivers
from rogo_async.sources.warehouse.drivers import Driver, DriverKind


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(drivers.import_pyodbc(), "drivers", lambda: names)
    return names


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "packaged", lambda: Path("/package/libmsodbcsql-18.6.so"))


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "packaged", lambda: None)


def test_newest_of_microsoft_s_first(registered: list[str], package: None) -> None:
    registered += ["FreeTDS", "ODBC Driver 9 for SQL Server", "ODBC Driver 18 for SQL Server"]
    registered += ["ODBC Driver 17 for SQL Server", "PostgreSQL Unicode"]
    chosen = drivers.choose_driver()
    assert (chosen.name, chosen.kind) == ("ODBC Driver 18 for SQL Server", DriverKind.MICROSOFT)


def test_then_the_packaged_one(registered: list[str], package: None) -> None:
    registered += ["FreeTDS"]
    chosen = drivers.choose_driver()
    assert (chosen.name, chosen.kind) == ("/package/libmsodbcsql-18.6.so", DriverKind.MICROSOFT)


def test_then_freetds(registered: list[str], no_package: None) -> None:
    registered += ["PostgreSQL Unicode", "FreeTDS"]
    chosen = drivers.choose_driver()
    assert (chosen.name, chosen.kind) == ("FreeTDS", DriverKind.FREETDS)


def test_none(registered: list[str], no_package: None) -> None:
    registered += ["PostgreSQL Unicode"]
    with pytest.raises(SetupError) as raised:
        drivers.choose_driver()
    (problem,) = raised.value.problems
    for way in ("msodbcsql18", "'.[mssql]'", "tdsodbc"):
        assert way in problem


def test_packaged_driver_is_found_where_it_is_installed() -> None:
    path = drivers.packaged()
    assert path is not None
    assert path.name.startswith("libmsodbcsql-")


def test_packaged_driver_that_lacks_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("libgssapi_krb5.so.2: cannot open shared object file: No such file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises(SetupError, match=r"\(libgssapi_krb5.so.2\): apt-get install libgssapi"):
        drivers.packaged()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ODBC Driver 17 for SQL Server", DriverKind.MICROSOFT),
        ("SQL Server", DriverKind.MICROSOFT),
        ("/opt/microsoft/msodbcsql18/lib64/libmsodbcsql-18.5.so.1.1", DriverKind.MICROSOFT),
        ("FreeTDS", DriverKind.FREETDS),
        ("/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so", DriverKind.FREETDS),
        ("PostgreSQL Unicode", DriverKind.OTHER),
    ],
)
def test_kind_of_a_named_driver(name: str, kind: DriverKind) -> None:
    assert Driver.named(name).kind is kind


def test_the_pool_of_the_driver_manager_is_off_before_the_first_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any first use turns it on in the whole process; Debian 13's unixODBC then reuses connections
    that the server has cut.
    """
    pooled = []

    def registered() -> list[str]:
        pooled.append(pyodbc.pooling)
        return ["FreeTDS"]

    monkeypatch.setattr(pyodbc, "pooling", True)
    monkeypatch.setattr(pyodbc, "drivers", registered)
    drivers.choose_driver()
    assert pooled == [False]
