"""A connection that breaks does not break others of the process (specification §7)."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Security

from rogo_async.distributed.tls_sockets import dask_setup, tls_sockets


@pytest.fixture
def security() -> Iterator[Security]:
    """The sockets of this process are the usual ones afterwards."""
    before = ssl.SSLContext.sslsocket_class
    yield Security.temporary()
    ssl.SSLContext.sslsocket_class = before
    with contextlib.suppress(ssl.SSLError):
        ssl.create_default_context().set_ciphers("none")  # clears the queue of errors


@contextlib.contextmanager
def connected(security: Security) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Both ends of a connection, which do not block."""
    near, far = socket.socketpair()
    accepting = security.get_listen_args("scheduler")["ssl_context"]
    connecting = security.get_connection_args("worker")["ssl_context"]
    with near, far, ThreadPoolExecutor() as threads:
        accepted = threads.submit(accepting.wrap_socket, near, server_side=True)
        with connecting.wrap_socket(far) as client, accepted.result(60.0) as server:
            client.setblocking(False)
            server.setblocking(False)
            yield server, client


def error_of_another(security: Security) -> Exception:
    """What a connection raises that has nothing to read, after another one has broken."""
    with connected(security) as (broken, lost), connected(security) as (sound, _):
        with pytest.raises(ssl.SSLWantReadError):
            broken.recv(1)  # reads the session tickets
        lost.close()
        for _ in range(3):  # a closed peer is noticed after the first one
            with contextlib.suppress(OSError):
                broken.send(b"x")
        try:
            sound.recv_into(bytearray(1))
        except OSError as error:
            return error
        raise AssertionError("there was something to read")


def test_a_broken_connection_leaves_the_others_alone(security: Security) -> None:
    with tls_sockets():
        of_run = error_of_another(security)
    usual = error_of_another(security)
    assert isinstance(of_run, ssl.SSLWantReadError)
    if isinstance(usual, ssl.SSLWantReadError):
        pytest.skip("this Python has no such fault")
    assert isinstance(usual, BrokenPipeError)


def test_dask_loads_them_into_its_processes(security: Security) -> None:
    usual = ssl.SSLContext.sslsocket_class
    dask_setup(None)
    with connected(security) as (server, client):
        assert type(server) is type(client) is not usual
