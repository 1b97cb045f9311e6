"""A T-SQL server written for the tests: it speaks TDS 7.4, the protocol of SQL Server.

It follows the published [MS-TDS] specification; section numbers in the modules refer to it. It
answers the few statements that the product sends to the warehouse, from tables in memory. A test
can make it refuse, delay, cut off or never send an answer.
"""

from tests.support.fake_sql_server.faults import Cut, Delay, Fault, Refuse, Silence
from tests.support.fake_sql_server.login import Login
from tests.support.fake_sql_server.server import FakeSqlServer
from tests.support.fake_sql_server.tables import Column, Table
from tests.support.fake_sql_server.tls import Certificate

__all__ = [
    "Certificate",
    "Column",
    "Cut",
    "Delay",
    "FakeSqlServer",
    "Fault",
    "Login",
    "Refuse",
    "Silence",
    "Table",
]
