"""The warehouse: SQL Server (or whatever ODBC reaches) through aioodbc, read only (SPEC §1)."""

from rogo_async.warehouse.drivers import Driver, Kind
from rogo_async.warehouse.dsn import Route, route_of
from rogo_async.warehouse.faults import DriverMissing
from rogo_async.warehouse.inspection import Inspection
from rogo_async.warehouse.reader import LookUp, Warehouse

__all__ = [
    "Driver",
    "DriverMissing",
    "Inspection",
    "Kind",
    "LookUp",
    "Route",
    "Warehouse",
    "route_of",
]
