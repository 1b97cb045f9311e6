"""TLS to the target, as the parameters of DATABASE_URL ask (specification §4).

The parameters mean what they mean for libpq, with two differences: without an ``sslmode`` another
machine must prove its identity (verify-full), and without a file of authorities those of the system
count. A file in ``~/.postgresql`` is used if it can be read. HOME may belong to another user
(``sudo -E``), and then nobody asked for its files.

Source: https://www.postgresql.org/docs/current/libpq-ssl.html
"""

import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from rogo_async.common.database_url import SSL_MODES, DatabaseUrl
from rogo_async.common.errors import SetupError

Tls = ssl.SSLContext | bool
"""A way to connect: with TLS, or ``False`` without it."""

_ENVIRONMENT: Final = {
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
}
_HOME_FILES: Final = {
    "sslcert": "postgresql.crt",
    "sslkey": "postgresql.key",
    "sslrootcert": "root.crt",
    "sslcrl": "root.crl",
}
_ALPN: Final = "postgresql"
log = structlog.get_logger()


def ways_to_connect(url: DatabaseUrl) -> Sequence[Tls]:
    """The ways to connect to the target, to be tried in this order.

    Raises SetupError for a file that cannot be used, with the name of its parameter.
    """
    given = {**_from_environment(), **url.parameters}
    mode = url.parameters.get("sslmode")
    if mode is None and (not url.is_local or "sslrootcert" in url.parameters):
        mode = "verify-full"
    mode = mode or given.get("sslmode") or "prefer"
    if mode not in SSL_MODES:
        raise SetupError(f"PGSSLMODE: must be one of {', '.join(SSL_MODES)}")
    if mode == "disable":
        return [False]
    context = _context(mode, given)
    match mode:
        case "prefer":
            return [context, False]
        case "allow":
            return [False, context]
    return [context]


def _from_environment() -> dict[str, str]:
    found = {name: os.environ.get(variable, "") for name, variable in _ENVIRONMENT.items()}
    return {name: value for name, value in found.items() if value}


def _context(mode: str, given: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    if mode in {"allow", "prefer"}:
        context.verify_mode = ssl.CERT_NONE
    else:
        _load_authorities(context, mode, given)
    if given.get("sslcertmode") != "disable":
        _load_own_certificate(context, given)
    lowest = given.get("ssl_min_protocol_version", "TLSv1.2")
    try:
        context.minimum_version = ssl.TLSVersion[lowest.replace(".", "_")]
        if highest := given.get("ssl_max_protocol_version"):
            context.maximum_version = ssl.TLSVersion[highest.replace(".", "_")]
    except (KeyError, ValueError):
        raise SetupError("DATABASE_URL: the versions of TLS that it allows do not exist") from None
    context.set_alpn_protocols([_ALPN])
    return context


def _load_authorities(context: ssl.SSLContext, mode: str, given: Mapping[str, str]) -> None:
    root = _file("sslrootcert", given)
    if root is None and mode == "require":
        context.verify_mode = ssl.CERT_NONE
        return
    if root is None or root.path == "system":
        context.load_default_certs()
    else:
        root.load(lambda path: context.load_verify_locations(cafile=path))
    revoked = _file("sslcrl", given)
    if revoked is not None:
        revoked.load(lambda path: context.load_verify_locations(cafile=path))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_own_certificate(context: ssl.SSLContext, given: Mapping[str, str]) -> None:
    certificate, key = _file("sslcert", given), _file("sslkey", given)
    if certificate is None or (key is None and "sslcert" not in given):
        return
    key_path, password = (None if key is None else key.path), given.get("sslpassword", "")
    # Without a password OpenSSL would ask on the terminal.
    certificate.load(
        lambda path: context.load_cert_chain(path, key_path, password=lambda: password)
    )


@dataclass(frozen=True, slots=True)
class _File:
    """A file, and how a message names it."""

    path: str
    source: str

    def load(self, load: Callable[[str], object]) -> None:
        try:
            load(self.path)
        except ssl.SSLError as error:
            raise SetupError(f"{self.source} {_UNUSABLE.get(error.reason, _NO_PEM)}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a valid name"
            raise SetupError(f"{self.source}: cannot read its file ({reason})") from None


_NO_PEM: Final = "cannot be used: its file is not in PEM format, or incomplete"
_UNUSABLE: Final = {
    "KEY_VALUES_MISMATCH": "cannot be used: sslkey does not belong to sslcert",
    "BAD_PASSWORD_READ": "cannot be used: sslkey is encrypted. Set sslpassword",
    "BAD_DECRYPT": "cannot be used: sslpassword does not open sslkey",
}


def _file(parameter: str, given: Mapping[str, str]) -> _File | None:
    """The file that the URL or the environment names, else the one in HOME if it can be read."""
    if parameter in given:
        return _File(given[parameter], f"DATABASE_URL: {parameter}")
    name = f".postgresql/{_HOME_FILES[parameter]}"
    try:
        path = Path.home() / name
        path.open("rb").close()
    except PermissionError:
        log.warning("file in HOME not used: it cannot be read", file=f"~/{name}")
        return None
    except (OSError, RuntimeError, KeyError):
        return None
    return _File(str(path), f"~/{name}")


_REJECTED: Final = {
    2: "is not trusted",
    3: "cannot be checked: sslcrl has no list of its authority",
    8: "cannot be checked: sslcrl has no list of its authority",
    9: "is not valid yet. Compare the clocks of both machines",
    10: "has expired. Renew it on the server",
    12: "cannot be checked: the list of sslcrl has expired",
    18: "is not trusted",
    19: "is not trusted",
    20: "is not trusted",
    21: "is not trusted",
    23: "has been revoked",
    62: "is for another name than the host in DATABASE_URL",
    64: "is for another name than the host in DATABASE_URL",
}
"""By OpenSSL's code of the verification (X509_V_ERR_…)."""
_REMEDIES: Final = {
    "is not trusted": (
        "Set sslrootcert in DATABASE_URL to the file of the authority that signed it"
    ),
    "is for another name than the host in DATABASE_URL": (
        "Use a name of the certificate as host, or set sslmode=verify-ca to accept any name"
    ),
}


def reason_of_tls_error(error: ssl.SSLError) -> str:
    """What is wrong, and the remedy, without the library's text."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what = _REJECTED.get(error.verify_code, f"was rejected (code {error.verify_code})")
        remedy = _REMEDIES.get(what)
        text = f"TLS failed: the server's certificate {what}"
        return f"{text}. {remedy}" if remedy else text
    reason = error.reason or type(error).__name__
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return (
            f"TLS failed: the server rejects this client's certificate ({reason}). Set sslcert and "
            "sslkey in DATABASE_URL to a certificate that the server accepts"
        )
    return f"TLS failed ({reason}). Check sslmode and the versions of TLS that both sides allow"
