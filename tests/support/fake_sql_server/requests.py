"""Requests of clients: SQL batches and remote procedure calls ([MS-TDS] 2.2.6.6, 2.2.6.7)."""

from dataclasses import dataclass
from typing import Any, Final

from tests.support.fake_sql_server.values import read_parameter
from tests.support.fake_sql_server.wire import Reader

_PROCEDURES: Final = {
    10: "sp_executesql",
    11: "sp_prepare",
    12: "sp_execute",
    13: "sp_prepexec",
    15: "sp_unprepare",
}
_SEPARATORS: Final = {0x80, 0xFE, 0xFF}


@dataclass(frozen=True, slots=True)
class Call:
    """One remote procedure call: the procedure and its parameters as (name, value)."""

    procedure: str
    parameters: list[tuple[str, Any]]

    @property
    def values(self) -> list[Any]:
        return [value for _, value in self.parameters]


def read_batch(body: bytes) -> str:
    """The text of a SQL batch."""
    data = _after_headers(body)
    return data.text(data.left // 2)


def read_calls(body: bytes) -> list[Call]:
    """The calls of one RPC message."""
    data = _after_headers(body)
    calls = []
    while data.left:
        length = data.number(2)
        if length == 0xFFFF:
            number = data.number(2)
            name = _PROCEDURES.get(number, f"procedure {number}")
        else:
            name = data.text(length)
        data.number(2)
        parameters = []
        while data.left and data.peek() not in _SEPARATORS:
            parameter = data.text(data.number(1))
            data.number(1)
            parameters.append((parameter, read_parameter(data)))
        if data.left:
            data.number(1)
        calls.append(Call(name, parameters))
    return calls


def _after_headers(body: bytes) -> Reader:
    data = Reader(body)
    data.take(data.number(4) - 4)
    return data
