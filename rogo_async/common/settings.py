"""Settings from the environment and ``.env``, as one frozen record (specification §4)."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from rogo_async.common.data_dir import RUN_ID_FORM, check_run_id
from rogo_async.common.database_url import DatabaseUrl
from rogo_async.common.durations import DURATION_FORM, parse_duration
from rogo_async.common.notify_urls import NotifyUrl, parse_notify_urls
from rogo_async.common.proxies import Proxies, parse_proxy
from rogo_async.common.settings_base import EnvironmentSettings, read_settings
from rogo_async.common.shard import Shard
from rogo_async.common.source_access import parse_identity_hosts, parse_source_sas
from rogo_async.common.urls import AllowList, Origin, parse_endpoint

DEFAULT_CONCURRENCY = 64
PG_POOL_CAP = 20
WAREHOUSE_POOL_CAP = 4
_FILES_IN_URL = ("sslrootcert", "sslcert", "sslkey", "sslcrl")

_Required = Annotated[str, Field(min_length=1)]
_LONGEST_S = 7 * 24 * 3600


def _read_seconds(value: object) -> object:
    seconds = parse_duration(value) if isinstance(value, str) else value
    if isinstance(seconds, int | float) and not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"must be more than 0 and at most 7d: {DURATION_FORM}")
    return seconds


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _read_shard(value: object) -> object:
    return Shard.parse(value) if isinstance(value, str) else value


_Seconds = Annotated[float, BeforeValidator(_read_seconds)]
_List = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


@dataclass(frozen=True, slots=True)
class Lms:
    """Constants of the learning management system (specification §4)."""

    instance_id: str
    consumer_key: str
    consumer_name: str
    return_url_base: str


class AmbiguousReports(StrEnum):
    """What happens to an attempt with different report rows (rule 8)."""

    FAIL = "fail"
    LATEST = "latest"


class CopyMode(StrEnum):
    """How files reach the destination (specification §4)."""

    AUTO = "auto"
    STREAM = "stream"


class LocalSettings(EnvironmentSettings):
    """Data directory and logs: the settings of commands that use no server."""

    rogo_data_dir: Path = Path()
    rogo_log_format: Literal["console", "json"] | None = None
    rogo_log_file: Path | None = None
    rogo_log_max_bytes: Annotated[int, Field(ge=1024)] = 50 * 1024 * 1024


class NotifySettings(EnvironmentSettings):
    """Who is told about a run, and the proxies that lead there."""

    rogo_notify_url: SecretStr | None = None
    https_proxy: SecretStr | None = None
    http_proxy: SecretStr | None = None
    no_proxy: _List = ()

    @field_validator("https_proxy", "http_proxy", "no_proxy", mode="before")
    @classmethod
    def _prefer_lower_case(cls, value: Any, info: ValidationInfo) -> Any:
        return value if value is None else os.environ.get(info.field_name or "") or value

    @field_validator("https_proxy", "http_proxy")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_proxy(value.get_secret_value())
        return value

    @field_validator("rogo_notify_url")
    @classmethod
    def _check_notify_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_notify_urls(value.get_secret_value())
        return value

    @cached_property
    def proxies(self) -> Proxies:
        """The proxies for HTTP requests."""
        https, http = [
            None if value is None else parse_proxy(value.get_secret_value())
            for value in (self.https_proxy, self.http_proxy)
        ]
        return Proxies(https, http, self.no_proxy)

    @cached_property
    def notify_urls(self) -> tuple[NotifyUrl, ...]:
        """Who is told about the start and the end of a full run."""
        value = self.rogo_notify_url
        return () if value is None else parse_notify_urls(value.get_secret_value())


class Settings(LocalSettings, NotifySettings):
    """All settings of specification §4, validated. Secrets are masked when printed."""

    database_url: SecretStr
    data_warehouse_connection_string: SecretStr
    azure_storage_connection_string: SecretStr | None = None
    azure_storage_account_key: SecretStr | None = None
    azure_storage_account_name: Annotated[
        str | None, Field(validate_default=True, pattern=r"^[a-z0-9]{3,24}$")
    ] = None
    azure_storage_service_endpoint: str | None = None
    rogo_source_hosts: Annotated[_List, Field(min_length=1)]
    rogo_source_sas_token: SecretStr | None = None
    rogo_source_identity_hosts: _List = ()
    rogo_container: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$")]
    rogo_instance_id: _Required
    rogo_consumer_key: _Required
    rogo_consumer_name: _Required
    rogo_return_url_base: _Required
    rogo_version_prefixes: Annotated[_List, Field(min_length=1)] = ("24", "25")
    rogo_migration_user_id: str | None = None
    rogo_ambiguous_reports: AmbiguousReports = AmbiguousReports.FAIL
    rogo_copy: CopyMode = CopyMode.AUTO
    rogo_concurrency: Annotated[int, Field(ge=1, le=4096)] = DEFAULT_CONCURRENCY
    rogo_pg_pool_size: Annotated[int | None, Field(ge=1, le=500)] = None
    rogo_warehouse_pool_size: Annotated[int | None, Field(ge=1, le=64)] = None
    rogo_progress_interval: _Seconds = 10.0
    rogo_write_interval: _Seconds = 5.0
    rogo_outage_limit: _Seconds = 900.0
    rogo_max_duration: _Seconds | None = None
    rogo_keep_runs: Annotated[int, Field(ge=1, le=100_000)] = 30
    rogo_refresh: bool = False
    rogo_shard: Annotated[Shard | None, NoDecode, BeforeValidator(_read_shard)] = None
    rogo_run_id: Annotated[str | None, Field(validate_default=True)] = None
    rogo_report: bool = False
    rogo_metrics_file: Path | None = None
    rogo_metrics_port: Annotated[int | None, Field(ge=1, le=65535)] = None

    @field_validator("rogo_metrics_file")
    @classmethod
    def _check_metrics_file(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix != ".prom":
            raise ValueError("must end with .prom, otherwise node_exporter ignores it")
        return value

    @field_validator("rogo_run_id")
    @classmethod
    def _check_run_id(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            check_run_id(value)
        elif info.data.get("rogo_shard") is not None:
            raise ValueError(f"is missing: all shards of a run have the same one, {RUN_ID_FORM}")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        url = DatabaseUrl.parse(value.get_secret_value())
        if variables := url.variables_that_count(os.environ):
            raise ValueError(
                "must name host, port and database itself, since "
                f"{', '.join(variables)} would count otherwise. Add them to the URL"
            )
        files = {name: url.parameters.get(name, "system") for name in _FILES_IN_URL}
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

    @field_validator("azure_storage_service_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else parse_endpoint(value)

    @field_validator("rogo_source_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowList.from_hosts(value)
        return value

    @field_validator("rogo_source_sas_token")
    @classmethod
    def _check_sas(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "rogo_source_hosts" in info.data:
            _source_sas(value, info.data["rogo_source_hosts"])
        return value

    @field_validator("rogo_source_identity_hosts")
    @classmethod
    def _check_identity_hosts(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        hosts = info.data.get("rogo_source_hosts")
        if hosts is not None and "rogo_source_sas_token" in info.data:
            sas = _source_sas(info.data["rogo_source_sas_token"], hosts)
            parse_identity_hosts(value, AllowList.from_hosts(hosts), sas)
        return value

    @cached_property
    def allow_list(self) -> AllowList:
        """The hosts from which source files may be downloaded."""
        return AllowList.from_hosts(self.rogo_source_hosts)

    @cached_property
    def source_sas(self) -> dict[Origin, str]:
        """The SAS of each source that has one, without a question mark."""
        return _source_sas(self.rogo_source_sas_token, self.rogo_source_hosts)

    @cached_property
    def identity_sources(self) -> frozenset[Origin]:
        """The sources to which the access token of the identity is sent."""
        entries = self.rogo_source_identity_hosts
        return parse_identity_hosts(entries, self.allow_list, self.source_sas)

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

    @property
    def target_names(self) -> dict[str, str]:
        """Host, database and container of the destination, without credentials."""
        url = self.target_url
        hosts = ", ".join(str(host) if host.name else "this machine" for host in url.hosts)
        database = url.database or url.user or ""
        return {"host": hosts, "database": database, "container": self.rogo_container}

    @property
    def rules_digest(self) -> str:
        """A digest of the settings that decide what becomes of a row, and of nothing secret."""
        lms = asdict(self.lms)
        others = [
            sorted(self.rogo_source_hosts),
            sorted(self.rogo_version_prefixes),
            self.rogo_ambiguous_reports,
            self.rogo_migration_user_id,
            self.rogo_refresh,
        ]
        return hashlib.sha256(json.dumps([lms, others]).encode()).hexdigest()

    @cached_property
    def target_url(self) -> DatabaseUrl:
        """DATABASE_URL in its parts."""
        return DatabaseUrl.parse(self.database_url.get_secret_value())


def _source_sas(token: SecretStr | None, hosts: tuple[str, ...]) -> dict[Origin, str]:
    return {} if token is None else parse_source_sas(token.get_secret_value(), hosts)


def load_settings(**overrides: Any) -> Settings:
    """Read and validate all settings, as ``read_settings`` does."""
    return read_settings(Settings, overrides)


def load_local_settings(**overrides: Any) -> LocalSettings:
    """Read and validate the settings that use no server, as ``read_settings`` does."""
    return read_settings(LocalSettings, overrides)


def load_notify_settings(**overrides: Any) -> NotifySettings:
    """Read and validate the settings of notifications, as ``read_settings`` does."""
    return read_settings(NotifySettings, overrides)
