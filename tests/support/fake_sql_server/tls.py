"""TLS in TDS 7.x: PRELOGIN packets carry the handshake ([MS-TDS] 2.2.6.5)."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.fake_sql_server.wire import Channel, Kind, packets, read_message

_READ_BYTES: Final = 65_536
_HEADER_BYTES: Final = 5


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for ``localhost`` and 127.0.0.1, in two PEM files."""

    path: Path
    key_path: Path

    @classmethod
    def make(cls, directory: Path) -> "Certificate":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        made = cls(directory / "server.pem", directory / "server.key")
        made.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key_path.touch(mode=0o600)
        made.key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # TDS 7.4 supports TLS 1.2 at most.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.path, self.key_path)
        return context


class Encrypted:
    """A TLS channel over another channel."""

    def __init__(self, below: Channel, context: ssl.SSLContext) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._clear = b""

    async def shake_hands(self) -> None:
        """Raises ssl.SSLError if the client rejects the certificate."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush_wrapped()
                self._incoming.write((await read_message(self._below)).body)
            else:
                await self._flush_wrapped()
                return

    async def _flush_wrapped(self) -> None:
        if data := self._outgoing.read():
            await self._below.write(packets(Kind.PRELOGIN, data, len(data) + 8))

    async def read_exactly(self, count: int) -> bytes:
        while len(self._clear) < count:
            try:
                self._clear += self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                self._incoming.write(await self._record())
        data, self._clear = self._clear[:count], self._clear[count:]
        return data

    async def _record(self) -> bytes:
        header = await self._below.read_exactly(_HEADER_BYTES)
        return header + await self._below.read_exactly(int.from_bytes(header[3:5], "big"))

    async def write(self, data: bytes) -> None:
        self._tls.write(data)
        await self._below.write(self._outgoing.read())
