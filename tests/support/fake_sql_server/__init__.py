"""A small server that speaks TDS 7.4, for tests only.

Written from the published [MS-TDS] specification; section numbers in the modules are its own.
It knows the handful of statements that the warehouse sends and answers them from tables in
memory; told so, it refuses, delays, cuts or falls silent instead.
"""

from tests.support.fake_sql_server.faults import Cut, Delay, Fault, Refuse, Silence
from tests.support.fake_sql_server.login import Login
from tests.support.fake_sql_server.server import Responder
from tests.support.fake_sql_server.tables import Column, Table
from tests.support.fake_sql_server.tls import Certificate

__all__ = [
    "Certificate",
    "Column",
    "Cut",
    "Delay",
    "Fault",
    "Login",
    "Refuse",
    "Responder",
    "Silence",
    "Table",
]
