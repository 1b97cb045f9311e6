"""The warehouse: SQL Server through ODBC, read only."""
