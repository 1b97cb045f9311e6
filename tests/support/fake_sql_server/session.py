"""The server's side of one connection: pre-login, login, then one request at a time."""

import asyncio
from typing import Any, Final, Protocol

from tests.support.fake_sql_server import tokens
from tests.support.fake_sql_server.answers import Answers, refusal, rows_alone
from tests.support.fake_sql_server.faults import Cut, Delay, Fault, Refuse, Silence
from tests.support.fake_sql_server.login import (
    ENCRYPTION,
    FEATURE_FEDERATED,
    FEDERATED,
    Encryption,
    Login,
    prelogin_answer,
    read_login,
    read_prelogin,
    read_token,
)
from tests.support.fake_sql_server.tables import Database
from tests.support.fake_sql_server.tls import Certificate, Encrypted
from tests.support.fake_sql_server.wire import (
    Channel,
    Clear,
    Kind,
    Message,
    packets,
    read_message,
)

_ENDS_CONNECTION: Final = 20
_LARGEST_PACKET_BYTES: Final = 16_383
_FIRST_PACKET_BYTES: Final = 4_096


class House(Protocol):
    """The part of the server that its connections use."""

    database: Database
    certificate: Certificate | None

    def fault(self, moment: str) -> Fault | None:
        """The fault to apply at this moment, if any."""

    def asked(self, operation: str, sql: str) -> None:
        """Count a statement."""

    def accept(self, login: Login) -> Refuse | None:
        """Accept a login, or refuse it."""


class Gone(Exception):
    """The server closes the connection."""


class Session:
    """The server's side of one connection."""

    def __init__(
        self, house: House, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._house = house
        self._channel: Channel = Clear(reader, writer)
        self._answers = Answers(house.database, house.asked)
        self._packet_bytes = _FIRST_PACKET_BYTES
        self._is_silent = False

    async def serve(self) -> None:
        """Serve until the client leaves. Raises Gone, IncompleteReadError, ConnectionError."""
        await self._greet()
        await self._log_in()
        reading = asyncio.create_task(read_message(self._channel))
        answering: asyncio.Task[None] | None = None
        try:
            while True:
                message = await reading
                reading = asyncio.create_task(read_message(self._channel))
                answering = asyncio.create_task(self._answer(message))
                # A message before the answer is a cancellation, or the client has left.
                await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_COMPLETED)
                if answering.done():
                    answering.result()
                else:
                    await _ended(answering)
        finally:
            await _ended(reading, answering)

    async def _greet(self) -> None:
        options = read_prelogin((await read_message(self._channel)).body)
        self._is_silent = isinstance(self._house.fault("prelogin"), Silence)
        certificate = self._house.certificate
        wanted = Encryption(options[ENCRYPTION][0])
        if certificate is None:
            encryption = Encryption.NOT_SUPPORTED
        elif wanted is Encryption.ON:
            encryption = Encryption.ON
        else:
            encryption = Encryption.REQUIRED
        await self._send(prelogin_answer(encryption, federated=FEDERATED in options))
        if certificate is not None:
            channel = Encrypted(self._channel, certificate.context())
            await channel.shake_hands()
            self._channel = channel

    async def _log_in(self) -> None:
        message = await read_message(self._channel)
        login = read_login(message.body, encrypted=self._house.certificate is not None)
        if login.asks_for_authority:
            await self._send(tokens.federated_authority())
            message = await read_message(self._channel)
            login = login.with_token(read_token(message.body[4:]))
        self._packet_bytes = min(login.packet_bytes, _LARGEST_PACKET_BYTES)
        refused = self._house.accept(login)
        fault = self._house.fault("login") or refused
        if isinstance(fault, Refuse):
            await self._send(refusal(fault.number, fault.text, fault.severity))
            raise Gone
        federated = [FEATURE_FEDERATED] if login.token is not None else []
        accepted = tokens.logged_in(login.database, self._packet_bytes, federated)
        await self._send_unless(fault, accepted)

    async def _answer(self, message: Message) -> None:
        answer = self._answers.to(message)
        fault = self._house.fault(answer.operation)
        if not isinstance(fault, Refuse):
            await self._send_unless(fault, answer.body)
            return
        begun = rows_alone(answer.body) if fault.after_rows else b""
        await self._send(begun + refusal(fault.number, fault.text, fault.severity))
        if fault.severity >= _ENDS_CONNECTION:
            raise Gone

    async def _send_unless(self, fault: Fault | None, answer: bytes) -> None:
        match fault:
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case Silence():
                self._is_silent = True
            case Cut():
                whole = packets(Kind.TABULAR, answer, self._packet_bytes)
                await self._channel.write(fault.of(whole))
                raise Gone
        await self._send(answer)

    async def _send(self, answer: bytes) -> None:
        if not self._is_silent:
            await self._channel.write(packets(Kind.TABULAR, answer, self._packet_bytes))


async def _ended(*tasks: "asyncio.Task[Any] | None") -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
