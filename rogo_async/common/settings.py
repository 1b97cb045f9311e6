"""Settings from the environment and ``.env``, as one frozen record (specification §4)."""

import os
import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rogo_async.common.errors import SetupError
from rogo_async.common.urls import AllowList, Origin

DEFAULT_CONCURRENCY = 64
PG_POOL_CAP = 20
WAREHOUSE_POOL_CAP = 4
_FILES_IN_URL = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1"})

_Required = Annotated[str, Field(min_length=1)]
_Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600, allow_inf_nan=False)]
_List = Annotated[tuple[str, ...], NoDecode]
_S = TypeVar("_S", bound="LocalSettings")


@dataclass(frozen=True, slots=True)
class Lms:
    """Constants of the learning management system (specification §4)."""

    instance_id: str
    consumer_key: str
    consumer_name: str
    return_url_base: str


class LocalSettings(BaseSettings):
    """Data directory and logs: the settings of commands that use no server."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    rogo_data_dir: Path = Path()
    rogo_log_format: Literal["console", "json"] | None = None
    rogo_log_file: Path | None = None
    rogo_log_max_bytes: Annotated[int, Field(ge=1024)] = 50 * 1024 * 1024


class Settings(LocalSettings):
    """All settings of specification §4, validated. Secrets are masked when printed."""

    database_url: SecretStr
    data_warehouse_connection_string: SecretStr
    azure_storage_connection_string: SecretStr | None = None
    azure_storage_account_key: SecretStr | None = None
    azure_storage_account_name: Annotated[
        str | None, Field(validate_default=True, pattern=r"^[a-z0-9]{3,24}$")
    ] = None
    rogo_source_hosts: Annotated[_List, Field(min_length=1)]
    rogo_source_sas_token: SecretStr | None = None
    rogo_container: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$")]
    rogo_instance_id: _Required
    rogo_consumer_key: _Required
    rogo_consumer_name: _Required
    rogo_return_url_base: _Required
    rogo_version_prefixes: Annotated[_List, Field(min_length=1)] = ("24", "25")
    rogo_migration_user_id: str | None = None
    rogo_concurrency: Annotated[int, Field(ge=1, le=4096)] = DEFAULT_CONCURRENCY
    rogo_pg_pool_size: Annotated[int | None, Field(ge=1, le=500)] = None
    rogo_warehouse_pool_size: Annotated[int | None, Field(ge=1, le=64)] = None
    rogo_progress_interval: _Seconds = 10.0
    rogo_write_interval: _Seconds = 5.0
    rogo_outage_limit: _Seconds = 900.0
    rogo_max_duration: _Seconds | None = None
    rogo_keep_runs: Annotated[int, Field(ge=1, le=100_000)] = 30
    rogo_report: bool = False
    rogo_metrics_file: Path | None = None
    rogo_metrics_port: Annotated[int | None, Field(ge=1, le=65535)] = None

    @field_validator("rogo_source_hosts", "rogo_version_prefixes", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("rogo_metrics_file")
    @classmethod
    def _check_metrics_file(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix != ".prom":
            raise ValueError("must end with .prom, otherwise node_exporter ignores it")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            usable = parts.port is None or parts.port > 0
        except ValueError:
            usable = False
        if not usable or parts.scheme.partition("+")[0] not in {"postgres", "postgresql"}:
            raise ValueError(
                "must have the form postgresql://user:password@host:5432/database "
                "(write / @ : # in the password as %2F %40 %3A %23)"
            )
        query = parse_qs(parts.query)
        files = {name: query.get(name, ["system"])[0] for name in _FILES_IN_URL}
        unreadable = [
            name
            for name, file in files.items()
            if file != "system" and not os.access(file, os.R_OK)
        ]
        if unreadable:
            raise ValueError(f"cannot read the file of {' and '.join(unreadable)}")
        return value

    @field_validator("azure_storage_connection_string")
    @classmethod
    def _check_connection_string(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            keys = {
                p.partition("=")[0].strip().lower() for p in value.get_secret_value().split(";")
            }
            if not keys & {"accountkey", "sharedaccesssignature"}:
                raise ValueError(
                    "is not the connection string of a storage account "
                    "(AccountName=…;AccountKey=…;… or …;SharedAccessSignature=…)"
                )
        return value

    @field_validator("azure_storage_account_name")
    @classmethod
    def _check_account(cls, value: str | None, info: ValidationInfo) -> str | None:
        # An invalid connection string is not in the data and is reported on its own line.
        if value is None and info.data.get("azure_storage_connection_string", "") is None:
            raise ValueError(
                "is missing, and so is AZURE_STORAGE_CONNECTION_STRING: "
                "set one of them to name the destination account"
            )
        return value

    @field_validator("rogo_source_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowList.from_hosts(value)
        return value

    @field_validator("rogo_source_sas_token")
    @classmethod
    def _check_sas(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and "rogo_source_hosts" in info.data:
            _parse_sas(value.get_secret_value(), info.data["rogo_source_hosts"])
        return value

    @cached_property
    def allow_list(self) -> AllowList:
        """The hosts from which source files may be downloaded."""
        return AllowList.from_hosts(self.rogo_source_hosts)

    @cached_property
    def source_sas(self) -> dict[Origin, str]:
        """The SAS of each source that has one, without a question mark."""
        if self.rogo_source_sas_token is None:
            return {}
        return _parse_sas(self.rogo_source_sas_token.get_secret_value(), self.rogo_source_hosts)

    @cached_property
    def lms(self) -> Lms:
        """The constants of the learning management system."""
        return Lms(
            instance_id=self.rogo_instance_id,
            consumer_key=self.rogo_consumer_key,
            consumer_name=self.rogo_consumer_name,
            return_url_base=self.rogo_return_url_base,
        )

    @property
    def pg_pool_size(self) -> int:
        """Connections to the target, without the one that holds the lock."""
        return self.rogo_pg_pool_size or min(self.rogo_concurrency, PG_POOL_CAP)

    @property
    def warehouse_pool_size(self) -> int:
        """Connections to the warehouse, which only the producer uses."""
        return self.rogo_warehouse_pool_size or min(self.rogo_concurrency, WAREHOUSE_POOL_CAP)

    @cached_property
    def target_dsn(self) -> str:
        """DATABASE_URL for asyncpg, without a ``+driver`` in its scheme."""
        scheme, colon, rest = self.database_url.get_secret_value().partition(":")
        return f"{scheme.partition('+')[0]}{colon}{rest}"

    @cached_property
    def target_ssl(self) -> ssl.SSLContext | None:
        """The TLS context for the target, or None if asyncpg follows the sslmode of the URL.

        Without an sslmode, certificate and host name of the server are verified, unless the host
        is this machine. The authorities are those of sslrootcert, else those of the system.
        Raises SetupError for an unusable certificate file.
        """
        parts = urlsplit(self.target_dsn)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        mode, root = query.get("sslmode", ""), query.get("sslrootcert")
        is_local = (parts.hostname or "") in _LOCAL_HOSTS and not query.get("host")
        if mode not in {"", "verify-full"} or (not mode and is_local and root is None):
            return None
        try:
            context = ssl.create_default_context(cafile=None if root == "system" else root)
            if "sslcert" in query:
                context.load_cert_chain(query["sslcert"], query.get("sslkey"))
        except (OSError, ssl.SSLError):
            raise SetupError(
                "DATABASE_URL: sslrootcert, sslcert or sslkey names a file that cannot be used"
            ) from None
        return context


def _parse_sas(text: str, hosts: tuple[str, ...]) -> dict[Origin, str]:
    named = {f"{host}=": host for host in hosts}
    tokens: dict[Origin, str] = {}
    pieces = text.split()
    for piece in pieces:
        host = next((host for start, host in named.items() if piece.startswith(start)), None)
        token = piece if host is None else piece[len(host) + 1 :]
        if host is None:
            if len(hosts) > 1 or len(pieces) > 1:
                raise ValueError(
                    "with several hosts, put the host in front of each token, "
                    "spelled as in ROGO_SOURCE_HOSTS: host=token host=token"
                )
            host = hosts[0]
        token = token.lstrip("?")
        if "=" not in token or not token.isascii():
            raise ValueError("contains a token that is not a SAS (expected sv=…&sig=…)")
        (origin,) = AllowList.from_hosts((host,)).origins
        tokens[origin] = token
    return tokens


_INVALID_NAME = (
    "is not a valid name: use lower-case letters and digits (and single hyphens in a container)"
)
_REMEDIES = {
    "string_pattern_mismatch": _INVALID_NAME,
    "missing": "is missing: set it in the environment or in .env",
    "string_too_short": "is empty: set it in the environment or in .env",
    "too_short": "is empty: name at least one",
}


def load_settings(**overrides: Any) -> Settings:
    """Read and validate the settings; ``overrides`` are fields set on the command line.

    Raises SetupError with one line for each error, without the values.
    """
    return _load(Settings, overrides)


def load_local_settings(**overrides: Any) -> LocalSettings:
    """Read and validate the settings that use no server, as ``load_settings`` does."""
    return _load(LocalSettings, overrides)


def _load(kind: type[_S], overrides: dict[str, Any]) -> _S:
    try:
        return kind(**overrides)
    except ValidationError as error:
        raise SetupError(*(_explain(item) for item in error.errors(include_url=False))) from None
    except (UnicodeDecodeError, OSError):
        raise SetupError(
            ".env: cannot be read: it must be UTF-8 text with NAME=value lines"
        ) from None


def _explain(item: Any) -> str:
    name = str(item["loc"][0]).upper() if item["loc"] else "settings"
    remedy = _REMEDIES.get(item["type"])
    if remedy is None:
        remedy = item["msg"].removeprefix("Value error, ")
        remedy = remedy[0].lower() + remedy[1:]
    return f"{name}: {remedy}"
