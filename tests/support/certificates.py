"""Makes certificates for the tests: an authority, and the servers and clients that it signs.

All are made when a test starts and are never committed. Keys are P-256, since they are made fast.
"""

import datetime as dt
import ipaddress
import os
import ssl
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1")
_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Two PEM files: the certificate, and its private key (mode 0600)."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority. ``certificate`` is the PEM file to trust."""

    def __init__(
        self, directory: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.certificate = directory / "ca.pem"
        self._directory = directory
        self._issuer = certificate
        self._key = key

    @classmethod
    def create(cls, directory: Path, name: str = "Test authority") -> Self:
        """Make an authority whose files, and those that it signs, are in ``directory``."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(subject, subject, key, -_DAY, 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        authority = cls(directory, certificate, key)
        authority.certificate.write_bytes(_pem(certificate))
        return authority

    def server(self, *names: str, expired: bool = False) -> Certificate:
        """A server's certificate for DNS names and IP addresses; by default for loopback."""
        names = names or LOOPBACK_NAMES
        return self._sign(names[0], names, [ExtendedKeyUsageOID.SERVER_AUTH], expired=expired)

    def client(self, common_name: str, *, expired: bool = False) -> Certificate:
        """A client's certificate; PostgreSQL compares the common name with the user."""
        return self._sign(common_name, (), [ExtendedKeyUsageOID.CLIENT_AUTH], expired=expired)

    def peer(self) -> Certificate:
        """A certificate of a program that is both server and client, for loopback."""
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._sign(LOOPBACK_NAMES[0], LOOPBACK_NAMES, usages, expired=False)

    def revocation_list(self, *revoked: Certificate) -> Path:
        """A revocation list (PEM) that revokes these certificates."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._issuer.subject)
            .last_update(now - _DAY)
            .next_update(now + _DAY)
        )
        for one in revoked:
            serial = x509.load_pem_x509_certificate(one.certificate.read_bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(now - _DAY)
                .build()
            )
        path = self._directory / f"{uuid.uuid4().hex}.crl.pem"
        signed = builder.sign(self._key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path

    def _sign(
        self,
        common_name: str,
        names: tuple[str, ...],
        usages: Sequence[x509.ObjectIdentifier],
        *,
        expired: bool,
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        end = -_DAY if expired else 20 * _DAY
        builder = (
            _builder(_name(common_name), self._issuer.subject, key, -10 * _DAY, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]),
                critical=False,
            )
        stem = self._directory / uuid.uuid4().hex
        signed = Certificate(stem.with_suffix(".crt.pem"), stem.with_suffix(".key.pem"))
        signed.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        _write_key(signed.key, key)
        return signed


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: dt.timedelta,
    ends: dt.timedelta,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """The TLS context of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context
