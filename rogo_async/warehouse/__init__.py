"""The warehouse: SQL Server (or whatever ODBC reaches) through aioodbc, read only (SPEC §1)."""

from rogo_async.warehouse.reader import LookUp, Warehouse

__all__ = ["LookUp", "Warehouse"]
