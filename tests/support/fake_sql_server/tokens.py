"""Tokens that the server sends ([MS-TDS] 2.2.7)."""

import struct
from collections.abc import Sequence
from typing import Any, Final

from tests.support.fake_sql_server.values import COLLATION, Int, Type
from tests.support.fake_sql_server.wire import b_varchar, us_varchar

MORE: Final = 0x01
FAILED: Final = 0x02
COUNTED: Final = 0x10
ATTENDED: Final = 0x20

SERVER_NAME: Final = "sql_server"
_TDS_7_4: Final = 0x74000004
WARNING: Final = 16


def done(status: int = 0, rows: int = 0) -> bytes:
    """DONE."""
    return struct.pack("<BHHQ", 0xFD, status, 0xC1, rows)


def done_in_proc(rows: int) -> bytes:
    """DONEINPROC, with more to follow."""
    return struct.pack("<BHHQ", 0xFF, MORE | COUNTED, 0xC1, rows)


def done_proc(status: int = 0) -> bytes:
    """DONEPROC."""
    return struct.pack("<BHHQ", 0xFE, status, 0xE0, 0)


def return_status(value: int = 0) -> bytes:
    """RETURNSTATUS."""
    return struct.pack("<Bi", 0x79, value)


def return_value(ordinal: int, name: str, value: int) -> bytes:
    """RETURNVALUE of an int parameter."""
    kind = Int()
    return (
        struct.pack("<BH", 0xAC, ordinal)
        + b_varchar(name)
        + struct.pack("<BIH", 1, 0, 1)
        + kind.info()
        + kind.value(value)
    )


def error(number: int, text: str, severity: int = WARNING) -> bytes:
    """ERROR."""
    return _message(0xAA, number, text, severity)


def info(number: int, text: str) -> bytes:
    """INFO."""
    return _message(0xAB, number, text, 10)


def _message(token: int, number: int, text: str, severity: int) -> bytes:
    body = (
        struct.pack("<iBB", number, 1, severity)
        + us_varchar(text)
        + b_varchar(SERVER_NAME)
        + b_varchar("")
        + struct.pack("<I", 1)
    )
    return struct.pack("<BH", token, len(body)) + body


def column_metadata(columns: Sequence[tuple[str, Type]]) -> bytes:
    """COLMETADATA of nullable columns."""
    parts = [struct.pack("<BH", 0x81, len(columns))]
    parts += [
        struct.pack("<IH", 0, 0x0009) + kind.info() + b_varchar(name) for name, kind in columns
    ]
    return b"".join(parts)


def row(columns: Sequence[tuple[str, Type]], values: Sequence[Any]) -> bytes:
    """ROW."""
    cells = (kind.value(value) for (_, kind), value in zip(columns, values, strict=True))
    return b"\xd1" + b"".join(cells)


def logged_in(database: str, packet_bytes: int, features: Sequence[int]) -> bytes:
    """The tokens after an accepted login; ``features`` are acknowledged without data."""
    ack = struct.pack(">BI", 1, _TDS_7_4) + b_varchar("Microsoft SQL Server") + b"\x10\0\x03\xe8"
    return b"".join(
        (
            _change(1, b_varchar(database) + b_varchar("master")),
            info(5701, f"Changed database context to '{database}'."),
            _change(7, bytes([len(COLLATION)]) + COLLATION + b"\0"),
            _change(2, b_varchar("us_english") + b_varchar("")),
            info(5703, "Changed language setting to us_english."),
            struct.pack("<BH", 0xAD, len(ack)) + ack,
            _change(4, b_varchar(str(packet_bytes)) + b_varchar(str(packet_bytes))),
            _acknowledged(features),
            done(),
        )
    )


def federated_authority() -> bytes:
    """FEDAUTHINFO: the authority and the resource of access tokens (2.2.7.12)."""
    parts = {1: "https://login.example/tenant", 2: "https://database.example/"}
    head, tail = struct.pack("<I", len(parts)), b""
    for kind, text in parts.items():
        data = text.encode("utf-16-le")
        head += struct.pack("<BII", kind, len(data), 4 + 9 * len(parts) + len(tail))
        tail += data
    return struct.pack("<BI", 0xEE, len(head + tail)) + head + tail


def _change(kind: int, values: bytes) -> bytes:
    return struct.pack("<BHB", 0xE3, len(values) + 1, kind) + values


def _acknowledged(features: Sequence[int]) -> bytes:
    if not features:
        return b""
    return b"\xae" + b"".join(struct.pack("<BI", each, 0) for each in features) + b"\xff"
