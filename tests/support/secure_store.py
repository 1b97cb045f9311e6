"""Azurite over https with access tokens, and the settings to reach it."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azure.storage.blob.aio import ContainerClient

from rogo_async.demo.servers.azurite import Azurite
from tests.support.certificates import Authority

STORE_SETTINGS: Final = (
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SERVICE_ENDPOINT",
    "ROGO_CONTAINER",
)


@dataclass(frozen=True, slots=True)
class SecureStore:
    """An Azurite whose certificate is signed by ``authority``."""

    azurite: Azurite
    authority: Authority

    @property
    def host(self) -> str:
        """The host of the account in Azure's public cloud, which only a proxy can map here."""
        return f"{self.azurite.account_name}.blob.core.windows.net"

    @property
    def trust(self) -> dict[str, str]:
        """The variable that makes a process trust its certificate."""
        return {"SSL_CERT_FILE": str(self.authority.certificate)}

    @contextlib.asynccontextmanager
    async def new_container(self) -> AsyncIterator["SecureContainer"]:
        """An empty container, deleted at the end."""
        container = SecureContainer(self, f"secure-{uuid.uuid4().hex[:12]}")
        async with container.client() as client:
            await client.create_container()
            yield container
            await client.delete_container()


@dataclass(frozen=True, slots=True)
class SecureContainer:
    """A container of the secure store."""

    store: SecureStore
    name: str

    def environment(self, env: Mapping[str, str], **settings: str) -> dict[str, str]:
        """An environment whose destination is this container; ``settings`` name the account."""
        kept = {name: value for name, value in env.items() if name not in STORE_SETTINGS}
        return {**kept, **self.store.trust, "ROGO_CONTAINER": self.name, **settings}

    def with_identity(self, env: Mapping[str, str]) -> dict[str, str]:
        """An environment that reaches it with an identity, by the emulator's form of URL."""
        return self.environment(
            env,
            AZURE_STORAGE_ACCOUNT_NAME=self.store.azurite.account_name,
            AZURE_STORAGE_SERVICE_ENDPOINT=self.store.azurite.endpoint,
        )

    def client(self) -> ContainerClient:
        """Full access with the account key, without a check of the certificate."""
        return ContainerClient.from_connection_string(
            self.store.azurite.connection_string, self.name, connection_verify=False
        )

    async def names(self) -> list[str]:
        """The names of its blobs."""
        async with self.client() as client:
            return [blob.name async for blob in client.list_blobs()]


@contextlib.asynccontextmanager
async def start_secure_store(directory: Path) -> AsyncIterator[SecureStore]:
    """Start Azurite with a new certificate for loopback and for its account in Azure."""
    authority = Authority.create(directory / "authority")
    certificate = authority.server("localhost", "127.0.0.1", "*.blob.core.windows.net")
    azurite = Azurite(directory / "azurite", tls=(certificate.certificate, certificate.key))
    await azurite.start()
    try:
        yield SecureStore(azurite, authority)
    finally:
        await azurite.stop()
