"""PRELOGIN and LOGIN7 ([MS-TDS] 2.2.6.4 and 2.2.6.5)."""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from tests.support.fake_sql_server.wire import Reader

VERSION: Final = 0
ENCRYPTION: Final = 1
INSTANCE: Final = 2
THREAD: Final = 3
MARS: Final = 4
FEDERATED: Final = 6
_END: Final = 0xFF
_TOKEN_AT_ONCE: Final = 1
_TOKEN_LATER: Final = 2

FEATURE_FEDERATED: Final = 2
_READ_ONLY_INTENT: Final = 0x20
_ODBC: Final = 0x02
_HAS_FEATURES: Final = 0x10


class Encryption(IntEnum):
    """The encryption option of client and server in PRELOGIN."""

    LOGIN_ONLY = 0
    ON = 1
    NOT_SUPPORTED = 2
    REQUIRED = 3


@dataclass(frozen=True, slots=True)
class Login:
    """The login data of a client. ``token`` is the access token, if it sent one."""

    user: str
    password: str
    application: str
    server: str
    database: str
    packet_bytes: int
    is_odbc: bool
    is_read_only: bool
    is_encrypted: bool
    token: str | None = None
    asks_for_authority: bool = False
    """Whether the client obtains a token itself, after the server names the authority."""

    def with_token(self, token: str) -> "Login":
        return replace(self, token=token)


def read_prelogin(body: bytes) -> dict[int, bytes]:
    """The options of a PRELOGIN message."""
    options = {}
    position = 0
    while body[position] != _END:
        kind, offset, size = struct.unpack_from(">BHH", body, position)
        options[kind] = body[offset : offset + size]
        position += 5
    return options


def prelogin_answer(encryption: Encryption, *, federated: bool) -> bytes:
    """The PRELOGIN answer of the server."""
    options = {
        VERSION: b"\x10\0\x03\xe8\0\0",
        ENCRYPTION: bytes([encryption]),
        INSTANCE: b"\0",
        THREAD: b"",
        MARS: b"\0",
    }
    if federated:
        options[FEDERATED] = b"\x01"
    head, tail = b"", b""
    start = 5 * len(options) + 1
    for kind, data in options.items():
        head += struct.pack(">BHH", kind, start + len(tail), len(data))
        tail += data
    return head + bytes([_END]) + tail


def read_login(body: bytes, *, encrypted: bool) -> Login:
    """A LOGIN7 message."""

    def text(position: int) -> str:
        offset, characters = struct.unpack_from("<HH", body, position)
        return body[offset : offset + 2 * characters].decode("utf-16-le")

    federated = _features(body).get(FEATURE_FEDERATED, b"\0")
    library = federated[0] >> 1
    offset, characters = struct.unpack_from("<HH", body, 44)
    scrambled = body[offset : offset + 2 * characters]
    return Login(
        user=text(40),
        password=bytes(_swapped(byte ^ 0xA5) for byte in scrambled).decode("utf-16-le"),
        application=text(48),
        server=text(52),
        database=text(68),
        packet_bytes=struct.unpack_from("<I", body, 8)[0] or 4096,
        is_odbc=bool(body[25] & _ODBC),
        is_read_only=bool(body[26] & _READ_ONLY_INTENT),
        is_encrypted=encrypted,
        token=read_token(federated[1:]) if library == _TOKEN_AT_ONCE else None,
        asks_for_authority=library == _TOKEN_LATER,
    )


def read_token(data: bytes) -> str:
    """An access token after its length in four bytes, possibly with a NUL at the end."""
    return data[4 : 4 + int.from_bytes(data[:4], "little")].decode("utf-16-le").rstrip("\0")


def _swapped(byte: int) -> int:
    return byte >> 4 | byte << 4 & 0xFF


def _features(body: bytes) -> dict[int, bytes]:
    if not body[27] & _HAS_FEATURES:
        return {}
    (offset,) = struct.unpack_from("<H", body, 56)
    data = Reader(body)
    data.position = struct.unpack_from("<I", body, offset)[0]
    features = {}
    while (kind := data.number(1)) != _END:
        features[kind] = data.take(data.number(4))
    return features
