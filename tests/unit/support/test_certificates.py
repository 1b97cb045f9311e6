import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Certificate


async def handshake(server: Certificate, context: ssl.SSLContext, name: str) -> None:
    """Connect with TLS to a server on loopback that has this certificate."""
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(server.certificate, server.key)

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    listener = await asyncio.start_server(close, "127.0.0.1", 0, ssl=offered)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
        writer.close()
        await writer.wait_closed()


async def test_a_server_certificate_is_for_its_names_only(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.certificate)
    server = authority.server("db.example", "127.0.0.1")
    await handshake(server, trusting, "db.example")
    await handshake(server, trusting, "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        await handshake(server, trusting, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await handshake(authority.server("a.example", expired=True), trusting, "a.example")


async def test_another_authority_is_not_trusted(tmp_path: Path) -> None:
    server = Authority.create(tmp_path / "one").server()
    other = Authority.create(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(server, ssl.create_default_context(cafile=other.certificate), "localhost")


async def test_a_revocation_list_revokes(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    good, revoked = authority.server(), authority.server()
    trusting = ssl.create_default_context(cafile=authority.certificate)
    trusting.load_verify_locations(authority.revocation_list(revoked))
    trusting.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    await handshake(good, trusting, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        await handshake(revoked, trusting, "localhost")


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    for made in (authority.server(), authority.client("writer")):
        assert made.key.stat().st_mode & 0o777 == 0o600
