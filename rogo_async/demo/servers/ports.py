"""Free ports on the loopback interface, for servers that want to be told a number."""

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


def reserve_port() -> int:
    """A port on which nobody listens and that nobody else is given for about a minute.

    A connection to the port is opened and closed from the listening side, which leaves it in
    TIME_WAIT: the kernel hands such a port to nobody who asks for any port, while a server that
    asks for this very one (all of ours set SO_REUSEADDR) gets it.
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
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
