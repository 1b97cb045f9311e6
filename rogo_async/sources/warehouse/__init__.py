"""Reads the data warehouse: SQL Server through ODBC, read only."""
