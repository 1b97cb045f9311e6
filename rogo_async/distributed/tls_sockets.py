"""TLS sockets whose errors do not reach other connections of the process.

OpenSSL has one queue of errors for each thread. CPython leaves a broken pipe in it (3.13 with
OpenSSL 3.5, https://github.com/python/cpython/issues/148594). The next reads of all other
connections then raise it, too: one lost worker takes others with it. Dask's processes load this
module with ``--preload rogo_async.distributed.tls_sockets``.
"""

import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, Final

_CONTEXT: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class TlsSocket(ssl.SSLSocket):
    """A socket that clears the queue after its own errors. CPython does so after an SSLError."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the base's name
        """As in the base class."""
        with _errors_cleared():
            return super().read(len, buffer)

    def send(self, data: Any, flags: int = 0) -> int:
        """As in the base class."""
        with _errors_cleared():
            return super().send(data, flags)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - of the base
        """As in the base class."""
        with _errors_cleared():
            super().do_handshake(block)


@contextlib.contextmanager
def _errors_cleared() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError:
        raise
    except OSError:
        with contextlib.suppress(ssl.SSLError):
            _CONTEXT.set_ciphers("none")  # fails, and clears the queue
        raise


@contextlib.contextmanager
def tls_sockets() -> Iterator[None]:
    """Let this process use these sockets for the block. asyncio's TLS has no such fault."""
    before = ssl.SSLContext.sslsocket_class
    ssl.SSLContext.sslsocket_class = TlsSocket
    try:
        yield
    finally:
        ssl.SSLContext.sslsocket_class = before


def dask_setup(_: object) -> None:
    """Called by Dask in the process of a scheduler or worker when it starts."""
    ssl.SSLContext.sslsocket_class = TlsSocket
