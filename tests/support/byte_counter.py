"""Counts the bytes of a client at a TcpProxy, in both directions."""

from dataclasses import dataclass

from tests.support.tcp_proxy import Hook, TcpProxy, Wire


@dataclass(slots=True)
class ByteCounter:
    """Bytes that the client has sent and received, on connections from now on."""

    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        """Both directions together."""
        return self.sent + self.received

    def watch(self, proxy: TcpProxy) -> None:
        """Count the bytes of this proxy."""
        proxy.tap = self._hooks

    def _hooks(self, _wire: Wire) -> tuple[Hook, Hook]:
        def sent(chunk: bytes) -> bytes:
            self.sent += len(chunk)
            return chunk

        def received(chunk: bytes) -> bytes:
            self.received += len(chunk)
            return chunk

        return sent, received
