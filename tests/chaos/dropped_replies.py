"""Dropped replies: the server has done the work, and the client does not learn of it.

Taps for a TcpProxy that know enough of both protocols to tell which request a reply belongs to. The
first chunk of the reply is dropped, and the connection is cut or falls silent.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

from tests.chaos.invariants import Findings
from tests.chaos.rounds import ChaosRound
from tests.support.cli import run_cli
from tests.support.tcp_proxy import Hook, TcpProxy, Wire

_REQUEST: Final = re.compile(rb"(PUT|DELETE) (\S+) HTTP/1\.1\r\n")
_COPY: Final = b"\r\nx-ms-copy-source: "
_INSERT: Final = b"INSERT INTO lti_launch_sessions"
_READ_BACK_SQL: Final = b"AS existing"
_STARTUP: Final = 196_608
"""The protocol version of PostgreSQL's first message; others before it ask for encryption."""


class Reply(StrEnum):
    """The request that a reply belongs to."""

    INSERT = "the insert"
    INSERT_WITHIN = "the insert in a transaction"
    COMMIT = "COMMIT"
    READ_BACK = "which submission exists"
    PUT = "Put Blob"
    COPY = "Put Blob From URL"
    STAGE = "Put Block"
    BLOCK_LIST = "Put Block List"
    DELETE = "Delete Blob"


class DroppedReplies:
    """Drops replies that are due. ``seen`` counts all of them, ``lost`` those that were dropped."""

    def __init__(self, due: Callable[[Reply], bool], *, silent: bool = False) -> None:
        self.due = due
        self.silent = silent
        self.seen: Counter[Reply] = Counter()
        self.lost: Counter[Reply] = Counter()

    def watch(self, store: TcpProxy, target: TcpProxy) -> None:
        """Drop replies of these two servers, on connections that are made from now on."""
        store.tap = lambda wire: self._hooks(wire, _requests_to_store())
        target.tap = lambda wire: self._hooks(wire, _requests_to_target())

    def _hooks(self, wire: Wire, kind_of: Callable[[bytes], Reply | None]) -> tuple[Hook, Hook]:
        asked: list[Reply] = []

        def request(chunk: bytes) -> bytes:
            kind = kind_of(chunk)
            if kind is not None:
                asked[:] = [kind]
            return chunk

        def reply(chunk: bytes) -> bytes | None:
            if not asked:
                return chunk
            kind = asked.pop()
            self.seen[kind] += 1
            if not self.due(kind):
                return chunk
            self.lost[kind] += 1
            if self.silent:
                wire.silence()
            else:
                wire.cut()
            return None

        return request, reply


def only_first(kind: Reply) -> Callable[[Reply], bool]:
    """Drop only the first reply of this kind."""
    left = [kind]

    def due(found: Reply) -> bool:
        if found not in left:
            return False
        left.clear()
        return True

    return due


async def run_with_dropped_replies(chaos_round: ChaosRound, drops: DroppedReplies) -> Findings:
    """The findings after one run with dropped replies, which must end as if there were none."""
    drops.watch(chaos_round.proxies["store"], chaos_round.proxies["target"])
    result = await run_cli(chaos_round.env, deadline_s=300)
    drops.due = lambda _: False
    findings = Findings()
    if result.code != chaos_round.expected_code:
        findings.misjudged.append(f"the run ended with {result.code}: {result.output}")
    if result.events("internal error"):
        findings.misjudged.append(result.output)
    findings.add(await chaos_round.check())
    return findings


def _requests_to_store() -> Callable[[bytes], Reply | None]:
    def kind_of(chunk: bytes) -> Reply | None:
        match = _REQUEST.match(chunk)
        if match is None:
            return None
        if match[1] == b"DELETE":
            return Reply.DELETE
        if b"comp=blocklist" in match[2]:
            return Reply.BLOCK_LIST
        if b"comp=metadata" in match[2]:
            return None
        if b"comp=block" in match[2]:
            return Reply.STAGE
        return Reply.COPY if _COPY in chunk else Reply.PUT

    return kind_of


def _requests_to_target() -> Callable[[bytes], Reply | None]:
    messages = _Messages()
    conversation = _Conversation()

    def kind_of(chunk: bytes) -> Reply | None:
        kind = None
        for letter, body in messages.feed(chunk):
            kind = conversation.take(letter, body) or kind
        return kind

    return kind_of


class _Conversation:
    """The state of one connection of a PostgreSQL client."""

    def __init__(self) -> None:
        self._statements: dict[bytes, Reply] = {}
        self._within = False
        self._inserted = False

    def take(self, letter: bytes, body: bytes) -> Reply | None:
        """The kind of the reply to this message, None for all others."""
        if letter == b"Q":
            # A transaction that only reads ends with COMMIT, too.
            commits = self._inserted and body.startswith(b"COMMIT")
            self._within, self._inserted = body.startswith(b"BEGIN"), False
            return Reply.COMMIT if commits else None
        if letter == b"P":
            name, sql, *_ = body.split(b"\0")
            if _INSERT in sql:
                self._statements[name] = Reply.INSERT
            elif _READ_BACK_SQL in sql:
                self._statements[name] = Reply.READ_BACK
        if letter == b"B":
            found = self._statements.get(body.split(b"\0")[1])
            if found is Reply.INSERT and self._within:
                self._inserted = True
                return Reply.INSERT_WITHIN
            return found
        return None


class _Messages:
    """Splits the bytes of a PostgreSQL client into messages: a letter and a body each."""

    def __init__(self) -> None:
        self._rest = b""
        self._began = False

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._rest += chunk
        while True:
            head = 1 if self._began else 0
            if len(self._rest) < head + 4:
                return
            end = head + int.from_bytes(self._rest[head : head + 4], "big")
            if len(self._rest) < end:
                return
            letter, body = self._rest[:head], self._rest[head + 4 : end]
            self._rest = self._rest[end:]
            self._began = self._began or int.from_bytes(body[:4], "big") == _STARTUP
            if letter:
                yield letter, body
