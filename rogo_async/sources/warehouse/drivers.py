"""Chooses the ODBC driver that reads the warehouse."""

import ctypes
import functools
import importlib.util
import platform
import re
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

import structlog

from rogo_async.common.errors import SetupError

VARIABLE: Final = "DATA_WAREHOUSE_CONNECTION_STRING"

_MICROSOFT: Final = re.compile(r"ODBC Driver (\d+) for SQL Server")
_IS_MICROSOFT: Final = re.compile(r"msodbcsql|SQL Server|SQL Native Client", re.IGNORECASE)
_IS_FREETDS: Final = re.compile(r"freetds|tdsodbc", re.IGNORECASE)
_PACKAGE: Final = "mssql_python_odbc"
_FAMILIES: Final = {"rhel": "rhel", "fedora": "rhel", "suse": "suse", "alpine": "alpine"}
_MACHINES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
log = structlog.get_logger()


class DriverKind(Enum):
    """Family of an ODBC driver."""

    MICROSOFT = auto()
    FREETDS = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Driver:
    """An ODBC driver: the value of ``DRIVER=``, its family, and why it was chosen (for the log)."""

    name: str
    kind: DriverKind
    chosen: str

    @classmethod
    def named(cls, name: str) -> "Driver":
        """The driver that the connection string names."""
        kind = DriverKind.OTHER
        if _IS_FREETDS.search(name):
            kind = DriverKind.FREETDS
        elif _IS_MICROSOFT.search(name):
            kind = DriverKind.MICROSOFT
        return cls(name, kind, f"named in {VARIABLE}")


def choose_driver() -> Driver:
    """Choose Microsoft's newest registered driver, else its packaged one, else FreeTDS.

    Raises SetupError if there is none.
    """
    registered: list[str] = import_pyodbc().drivers()
    versions = [int(found[1]) for name in registered if (found := _MICROSOFT.fullmatch(name))]
    if versions:
        name = f"ODBC Driver {max(versions)} for SQL Server"
        return Driver(name, DriverKind.MICROSOFT, "Microsoft's newest in odbcinst.ini")
    if (path := packaged()) is not None:
        return Driver(str(path), DriverKind.MICROSOFT, "Microsoft's, from mssql-python-odbc")
    for name in registered:
        if _IS_FREETDS.search(name):
            return Driver(name, DriverKind.FREETDS, "FreeTDS, as no Microsoft driver was found")
    raise SetupError(
        "no ODBC driver for SQL Server is installed. Install Microsoft's msodbcsql18, or run "
        "pip install '.[mssql]' in the source directory, or apt-get install tdsodbc"
    )


def packaged() -> Path | None:
    """Microsoft's driver from the package mssql-python-odbc, or None.

    Raises SetupError if a library that the driver needs is missing.
    """
    found = importlib.util.find_spec(_PACKAGE)
    machine = _MACHINES.get(platform.machine().lower())
    if found is None or not found.submodule_search_locations or machine is None:
        return None
    root = Path(found.submodule_search_locations[0], "libs", "linux", _family(), machine, "lib")
    libraries = sorted(root.glob("libmsodbcsql-*.so*"))
    if not libraries:
        return None
    try:
        ctypes.CDLL(str(libraries[-1]))
    except OSError as error:
        library = str(error).partition(":")[0].rpartition("/")[2]
        raise SetupError(
            f"Microsoft's ODBC driver cannot be loaded ({library}): "
            "apt-get install libgssapi-krb5-2 libltdl7 libssl3"
        ) from None
    return libraries[-1]


def import_pyodbc() -> Any:
    """Import pyodbc, with the driver manager's own pool off.

    The first use of pyodbc turns that pool on for the whole process, even a list of the drivers.
    unixODBC 2.3.12 then hands out connections that the server has cut. Raises SetupError if
    unixODBC or a Python package is missing.
    """
    try:
        # Not at the top of the module: the import fails without the system's unixODBC.
        import aioodbc  # noqa: F401, PLC0415
        import pyodbc  # noqa: PLC0415
    except ImportError as error:
        if "libodbc" in str(error):
            raise SetupError(
                "unixODBC is not installed (libodbc.so.2 is missing): apt-get install unixodbc"
            ) from None
        raise SetupError(
            "pyodbc or aioodbc is not installed: pip install . in the source directory"
        ) from None
    pyodbc.pooling = False
    return pyodbc


@functools.cache
def log_driver(driver: Driver) -> None:
    """Log the chosen driver, once."""
    log.info("warehouse driver", driver=driver.name, chosen=driver.chosen)


@functools.cache
def warn_of_no_encryption() -> None:
    """Log once that the connection string turns encryption off."""
    log.warning(
        "the connection to the warehouse need not be encrypted: others may read its rows",
        remedy=f"remove Encrypt or Encryption from {VARIABLE}",
    )


@functools.cache
def warn_of_unchecked_certificate() -> None:
    """Log once that FreeTDS does not validate certificates."""
    log.warning(
        "FreeTDS encrypts without validating the server's certificate: use Microsoft's driver, or "
        "set TrustServerCertificate=yes to accept that"
    )


def _family() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    names = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".lower().split()
    return next((_FAMILIES[name] for name in names if name in _FAMILIES), "debian_ubuntu")
