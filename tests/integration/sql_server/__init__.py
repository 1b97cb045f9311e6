"""The warehouse code with real ODBC drivers, against a T-SQL server written for the tests.

The server is ``tests/support/fake_sql_server``, which speaks the protocol of SQL Server. Each test
runs with Microsoft's driver and with FreeTDS, unless it concerns one of them only.
"""
