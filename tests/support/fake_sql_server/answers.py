"""Answers to the statements and procedure calls of one connection."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support.fake_sql_server import tokens
from tests.support.fake_sql_server.requests import Call, read_batch, read_calls
from tests.support.fake_sql_server.tables import Database, NotAnswered, Result
from tests.support.fake_sql_server.typeinfo import TYPE_INFO_COLUMNS, TYPE_INFO_ROWS
from tests.support.fake_sql_server.wire import Kind, Message

_TYPE_INFO: Final = re.compile(r"sp_datatype_info\w* (?P<type>-?\d+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of an answer, and the operation of the product that it belongs to."""

    operation: str
    body: bytes


class Answers:
    """Answers from ``database``; calls ``asked`` with each operation and statement."""

    def __init__(self, database: Database, asked: Callable[[str, str], None]) -> None:
        self._database = database
        self._asked = asked
        self._prepared: dict[int, str] = {}

    def to(self, message: Message) -> Answer:
        """The answer to a request. Raises ValueError for another message."""
        match message.kind:
            case Kind.SQL_BATCH:
                return self._batch(read_batch(message.body))
            case Kind.RPC:
                return self._calls(read_calls(message.body))
            case Kind.ATTENTION:
                return Answer("attention", tokens.done(tokens.ATTENDED))
            case _:
                raise ValueError(f"a message of type {message.kind.name}")

    def _batch(self, sql: str) -> Answer:
        if asked := _TYPE_INFO.match(sql):
            return Answer("types", self._types(int(asked["type"])) + tokens.done_proc())
        operation, answer = self._run(sql, ())
        if isinstance(answer, NotAnswered):
            return Answer(operation, refusal(answer.number, answer.text, tokens.WARNING))
        if answer is None:
            return Answer(operation, tokens.done())
        end = tokens.done(tokens.COUNTED, len(answer.rows))
        return Answer(operation, _rows(answer) + end)

    def _calls(self, calls: Sequence[Call]) -> Answer:
        answers = [self._call(call) for call in calls]
        named = (answer.operation for answer in answers if answer.operation != "unprepare")
        ends = [tokens.done_proc(tokens.MORE)] * (len(answers) - 1) + [tokens.done_proc()]
        body = b"".join(answer.body + end for answer, end in zip(answers, ends, strict=True))
        return Answer(next(named, "unprepare"), body)

    def _call(self, call: Call) -> Answer:
        values = call.values
        match call.procedure.rpartition(".")[2]:
            case "sp_executesql":
                answer = self._statement(values[0], values[2:])
            case "sp_prepexec":
                answer = self._statement(values[2], values[3:])
                answer = Answer(answer.operation, answer.body + self._handle(call))
            case "sp_prepare":
                answer = Answer("prepare", tokens.return_status() + self._handle(call))
            case "sp_execute":
                answer = self._statement(self._prepared[values[0]], values[1:])
            case "sp_unprepare":
                self._prepared.pop(values[0], None)
                answer = Answer("unprepare", tokens.return_status())
            case "sp_datatype_info" | "sp_datatype_info_90" | "sp_datatype_info_100":
                answer = Answer("types", self._types(values[0]))
            case _:
                self._asked("other", f"{call.procedure} {values}")
                answer = Answer("other", tokens.error(2812, f"Could not find {call.procedure}."))
        return answer

    def _handle(self, call: Call) -> bytes:
        """Prepare the statement of a call; return its handle as the first parameter."""
        self._prepared.pop(call.values[0], None)
        handle = max(self._prepared, default=0) + 1
        self._prepared[handle] = call.values[2]
        return tokens.return_value(0, call.parameters[0][0], handle)

    def _statement(self, sql: str, parameters: Sequence[Any]) -> Answer:
        operation, answer = self._run(sql, parameters)
        if isinstance(answer, NotAnswered):
            return Answer(operation, tokens.error(answer.number, answer.text))
        rows = b"" if answer is None else _rows(answer) + tokens.done_in_proc(len(answer.rows))
        return Answer(operation, rows + tokens.return_status())

    def _run(self, sql: str, parameters: Sequence[Any]) -> tuple[str, Result | NotAnswered | None]:
        operation = self._database.operation_of(sql)
        self._asked(operation, sql)
        try:
            return operation, self._database.answer(sql, parameters)
        except NotAnswered as refused:
            return operation, refused

    def _types(self, wanted: int) -> bytes:
        self._asked("types", "sp_datatype_info")
        rows = [row for row in TYPE_INFO_ROWS if row[1] == wanted]
        result = Result(TYPE_INFO_COLUMNS, rows)
        return _rows(result) + tokens.done_in_proc(len(rows)) + tokens.return_status()


def refusal(number: int, text: str, severity: int) -> bytes:
    """A complete answer that is an error."""
    return tokens.error(number, text, severity) + tokens.done(tokens.FAILED)


def rows_alone(answer: bytes) -> bytes:
    """The part of an answer up to the end of its rows."""
    return answer[: answer.rindex(tokens.done_in_proc(0)[:5])]


def _rows(result: Result) -> bytes:
    rows = (tokens.row(result.columns, row) for row in result.rows)
    return tokens.column_metadata(result.columns) + b"".join(rows)
