"""The server: listens on a free port of 127.0.0.1, counts requests, and applies faults."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Iterable
from typing import Final, Self

from tests.support.fake_sql_server.faults import Fault, Faults, Refuse
from tests.support.fake_sql_server.login import Login
from tests.support.fake_sql_server.session import Gone, Session
from tests.support.fake_sql_server.tables import Database, Table
from tests.support.fake_sql_server.tls import Certificate

HOST: Final = "127.0.0.1"
USER: Final = "reader"
PASSWORD: Final = "an;odd}pass\"word'{ =é€"
DATABASE: Final = "rogo"


class FakeSqlServer:
    """Answers from ``tables``. Accepts ``USER`` with ``PASSWORD``, or any access token.

    ``connections`` counts all connections so far, ``open`` the open ones, ``queries`` the
    statements by operation of the product. ``unknown`` lists statements without an answer. With
    a ``certificate`` it requires encryption.
    """

    def __init__(
        self, tables: Iterable[Table] = (), certificate: Certificate | None = None
    ) -> None:
        self.database = Database(tables)
        self.certificate = certificate
        self.port = 0
        self.connections = 0
        self.open = 0
        self.logins: list[Login] = []
        self.queries: Counter[str] = Counter()
        self.unknown: list[str] = []
        self._faults = Faults()
        self._broken: list[Exception] = []
        self._sessions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Raise an error of this server itself, unless another one is being raised."""
        self._server.close()
        self.cut()
        if self._sessions:
            await asyncio.wait(self._sessions)
        if self._broken and exc_info[1] is None:
            raise self._broken[0]

    def on(self, moment: str, fault: Fault, times: int = 1, after: int = 0) -> None:
        """Apply a fault at the next ``times`` moments, after skipping ``after`` of them.

        A moment is ``prelogin``, ``login``, or an operation: ``catalogue``, ``reports``,
        ``scores``, ``probe``.
        """
        self._faults.add(moment, fault, times, after)

    def heal(self) -> None:
        """Remove all pending faults."""
        self._faults.clear()

    @property
    def waiting(self) -> bool:
        """Whether faults are pending."""
        return bool(self._faults)

    def cut(self) -> None:
        """Close every connection."""
        for session in self._sessions:
            session.cancel()

    def fault(self, moment: str) -> Fault | None:
        return self._faults.take(moment)

    def asked(self, operation: str, sql: str) -> None:
        self.queries[operation] += 1
        if operation == "other":
            self.unknown.append(sql)

    def accept(self, login: Login) -> Refuse | None:
        self.logins.append(login)
        if login.token is None and (login.user, login.password) != (USER, PASSWORD):
            return Refuse(18456, f"Login failed for user '{login.user}'.", 14)
        if login.database != DATABASE:
            return Refuse(4060, f'Cannot open database "{login.database}".', 11)
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task")
        self._sessions.add(task)
        self.connections += 1
        self.open += 1
        try:
            await Session(self, reader, writer).serve()
        except (Gone, EOFError, ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        except Exception as error:  # noqa: BLE001 - __aexit__ raises it
            self._broken.append(error)
        finally:
            self.open -= 1
            self._sessions.discard(task)
            writer.close()
