"""Reads and writes packets and messages ([MS-TDS] 2.2.3)."""

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

HEADER_BYTES: Final = 8
LARGEST_PACKET_BYTES: Final = 32_767
END_OF_MESSAGE: Final = 0x01


class Kind(IntEnum):
    """Packet types (2.2.3.1.1)."""

    SQL_BATCH = 1
    RPC = 3
    TABULAR = 4
    ATTENTION = 6
    FEDERATED_TOKEN = 8
    TRANSACTION = 14
    LOGIN7 = 16
    PRELOGIN = 18


class Channel(Protocol):
    """Bytes to and from the client, with or without TLS."""

    async def read_exactly(self, count: int) -> bytes:
        """Raises IncompleteReadError if the client has left."""

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError if the client has left."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the client: the joined contents of its packets."""

    kind: Kind
    body: bytes


async def read_message(channel: Channel) -> Message:
    """The next message. Raises IncompleteReadError if the client has left."""
    body = bytearray()
    while True:
        header = await channel.read_exactly(HEADER_BYTES)
        kind, status, length = struct.unpack(">BBH", header[:4])
        body += await channel.read_exactly(length - HEADER_BYTES)
        if status & END_OF_MESSAGE:
            return Message(Kind(kind), bytes(body))


def packets(kind: Kind, body: bytes, packet_bytes: int) -> bytes:
    """Split a message of the server into packets and mark the last one."""
    size = packet_bytes - HEADER_BYTES
    parts = [body[position : position + size] for position in range(0, len(body), size)] or [b""]
    return b"".join(
        struct.pack(
            ">BBHHBB",
            kind,
            END_OF_MESSAGE if part_number == len(parts) else 0,
            len(part) + HEADER_BYTES,
            0,
            part_number % 256,
            0,
        )
        + part
        for part_number, part in enumerate(parts, 1)
    )


class Clear:
    """A channel without TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read_exactly(self, count: int) -> bytes:
        return await self._reader.readexactly(count)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class Reader:
    """Reads the parts of a message from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.position

    def take(self, count: int) -> bytes:
        if self.left < count:
            raise ValueError(f"{count} bytes wanted at {self.position}, {self.left} left")
        self.position += count
        return self._data[self.position - count : self.position]

    def peek(self) -> int:
        return self._data[self.position]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def text(self, characters: int) -> str:
        return self.take(2 * characters).decode("utf-16-le")


def b_varchar(text: str) -> bytes:
    """A text with its length in one byte (2.2.5.1.2)."""
    return bytes([len(text.encode("utf-16-le")) // 2]) + text.encode("utf-16-le")


def us_varchar(text: str) -> bytes:
    """A text with its length in two bytes."""
    encoded = text.encode("utf-16-le")
    return struct.pack("<H", len(encoded) // 2) + encoded
