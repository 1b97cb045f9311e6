"""Free ports on the loopback interface, for servers that need a fixed port number."""

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


def reserve_port() -> int:
    """Returns a free port that the kernel assigns to no other process for about a minute.

    The listening side opens and closes a connection, which leaves the port in TIME_WAIT. The
    kernel does not choose such a port for port 0, but a server that requests this port with
    SO_REUSEADDR gets it. All embedded servers set that option.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen(1)
        port: int = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port), timeout=5):
            accepted, _ = listener.accept()
            accepted.close()
    return port


def is_free(port: int) -> bool:
    """Whether a server can listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
