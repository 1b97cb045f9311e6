"""A small server that speaks TDS 7.4, for tests only.

Written from the published [MS-TDS] specification; section numbers in the modules are its own.
It knows the handful of statements that the warehouse sends and answers them from tables in
memory; told so, it refuses, delays, cuts or falls silent instead.
"""

from responder.faults import Cut, Delay, Fault, Refuse, Silence
from responder.login import Login
from responder.server import Responder
from responder.tables import Column, Table
from responder.tls import Certificate

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
