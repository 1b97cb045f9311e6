"""Checks of the source hosts: reachable, SAS valid, newest files readable (rule 14)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs

from yarl import URL

from rogo_async.commands.check.data_dir import NEWEST_ROWS, DataDirChecks
from rogo_async.commands.check.probe import NoRetry, with_brief_retry, with_timeout
from rogo_async.commands.check.results import (
    Check,
    CheckReport,
    CheckResult,
    CheckStatus,
    fail,
    ok,
    warning,
)
from rogo_async.common import error_classes
from rogo_async.common.errors import Dependency, RowError
from rogo_async.common.http_session import HttpSession, Response
from rogo_async.common.settings import Settings
from rogo_async.common.urls import Origin, origin
from rogo_async.rules.files import split_urls
from rogo_async.rules.records import SourceRow
from rogo_async.sources.answers import answer_text, is_refused, require_online
from rogo_async.sources.host_access import GRANT_ROLE, accesses_of
from rogo_async.sources.http_files import Sources, name_of

_FILES_PER_HOST: Final = 3
_EXPIRES_SOON: Final = timedelta(hours=24)
_SETTINGS: Final = (
    "settings.ROGO_SOURCE_HOSTS",
    "settings.ROGO_SOURCE_SAS_TOKEN",
    "settings.ROGO_SOURCE_IDENTITY_HOSTS",
    "settings.HTTPS_PROXY",
    "settings.HTTP_PROXY",
)
_CHECK_HOST: Final = "Check that the host is running and its name in ROGO_SOURCE_HOSTS is correct"
_CHECK_LOG: Final = "Check the log of the host"
_CHECK_IDENTITY: Final = (
    "Check that the identity endpoint of this machine, or Microsoft Entra ID, can be reached"
)
_RENEW: Final = "Set a new SAS in ROGO_SOURCE_SAS_TOKEN"


class SourceChecks:
    """The checks of all source hosts, in parallel."""

    def __init__(self, settings: Settings, report: CheckReport, data_dir: DataDirChecks) -> None:
        self._settings = settings
        self._report = report
        self._data_dir = data_dir
        self._sources: Sources

    async def execute(self, inputs: Awaitable[object]) -> None:
        """Run the checks. Those of files wait until ``inputs`` has read the newest rows."""
        report, hosts = self._report, sorted(self._settings.allow_list.origins)
        if not report.passed("settings.ROGO_SOURCE_HOSTS"):
            report.skip("source.hosts", "settings.ROGO_SOURCE_HOSTS")
            await inputs
            report.skip("source.allowed", "settings.ROGO_SOURCE_HOSTS")
            return
        async with contextlib.aclosing(HttpSession(self._settings.proxies)) as http:
            self._sources = Sources(
                http,
                self._settings.allow_list,
                accesses_of(self._settings),
                lambda _probe, _host: NoRetry(Dependency.SOURCE),
            )
            await asyncio.gather(*[report.run(self._host_checks(host)) for host in hosts])
            await inputs
            await report.run([Check("source.allowed", self._allowed, ("inputs.submissions",))])
            await asyncio.gather(*[report.run([self._files_check(host)]) for host in hosts])

    def _host_checks(self, host: Origin) -> list[Check]:
        name = name_of(host)

        async def sas() -> CheckResult:
            return check_sas(name, self._settings.source_sas.get(host), datetime.now(UTC))

        async def identity() -> CheckResult:
            access = self._sources.of(host).access
            await with_timeout(Dependency.SOURCE, access.authorization)
            return ok(f"{name}: the identity has an access token")

        async def reach() -> CheckResult:
            return await self._reach(host)

        return [
            Check(f"source.{name}.identity", identity, _SETTINGS, f"{name}: {_CHECK_IDENTITY}")
            if self._has_identity(host)
            else Check(f"source.{name}.sas", sas, _SETTINGS),
            Check(f"source.{name}.reach", reach, _SETTINGS, f"{name}: {_CHECK_HOST}"),
        ]

    def _files_check(self, host: Origin) -> Check:
        name = name_of(host)

        async def files() -> CheckResult:
            return await self._newest_files(host)

        access = "identity" if self._has_identity(host) else "sas"
        needs = (f"source.{name}.reach", f"source.{name}.{access}", "inputs.submissions")
        return Check(f"source.{name}.files", files, needs, f"{name}: {_CHECK_HOST}")

    def _has_identity(self, host: Origin) -> bool:
        return host in self._settings.identity_sources

    async def _reach(self, host: Origin) -> CheckResult:
        scheme, hostname, port = host
        root = URL.build(scheme=scheme, host=hostname, port=port, path="/")
        status = (await with_brief_retry(lambda: self._head(root))).status
        name = name_of(host)
        if _is_transient(status):
            return CheckResult(
                CheckStatus.FAIL, f"{name} answered {status}", _CHECK_LOG, unreachable=True
            )
        return ok(f"{name} reachable {self._settings.proxies.route_to(root)}")

    async def _allowed(self) -> CheckResult:
        errors = [
            error.message
            for _, error in _urls_in(self._data_dir.newest, self._settings)
            if error is not None
        ]
        if errors:
            shown = "; ".join(sorted(set(errors))[:_FILES_PER_HOST])
            return warning(
                f"files not on allowed hosts ({len(errors):,} in the newest {NEWEST_ROWS:,} rows): "
                f"{shown}",
                "Add the host to ROGO_SOURCE_HOSTS if you trust it",
            )
        return ok(f"all files of the newest {NEWEST_ROWS:,} rows are on allowed hosts")

    async def _newest_files(self, host: Origin) -> CheckResult:
        """Request the newest files of a host, with HEAD."""
        name = name_of(host)
        urls = urls_of_host(self._data_dir.newest, self._settings, host)
        if not urls:
            return ok(f"{name}: no files in the newest {NEWEST_ROWS:,} rows")
        answers = await asyncio.gather(*[self._head(url) for url in urls])
        grant = (
            GRANT_ROLE
            if self._has_identity(host)
            else f"{_RENEW}, or grant read access on the host"
        )
        return _files_result(name, answers, grant)

    async def _head(self, url: URL) -> Response:
        """The answer to HEAD, whose headers can be read after it was closed."""
        host = self._sources.host(url)
        response = await with_timeout(Dependency.SOURCE, lambda: host.request("HEAD", url, {}))
        response.close()
        return response


def urls_of_host(rows: list[SourceRow], settings: Settings, host: Origin) -> list[URL]:
    """The newest files of a host in these rows, _FILES_PER_HOST at most."""
    found = [url for url, _ in _urls_in(rows, settings) if url is not None and origin(url) == host]
    return list(dict.fromkeys(found))[:_FILES_PER_HOST]


def _urls_in(rows: list[SourceRow], settings: Settings) -> list[tuple[URL | None, RowError | None]]:
    """The URLs in the rows, each with the error if its host is not allowed."""
    found: list[tuple[URL | None, RowError | None]] = []
    for row in rows:
        if row.malformed is None:
            for address in (*split_urls(row.learner_urls), *split_urls(row.marker_urls)):
                try:
                    found.append((settings.allow_list.permit(address), None))
                except RowError as error:
                    found.append((None, error))
    return found


def _files_result(name: str, answers: list[Response], if_refused: str) -> CheckResult:
    failed = [answer for answer in answers if answer.status >= 400]
    message = "; ".join(dict.fromkeys(answer_text(name, answer) for answer in failed))
    message = f"{message} for the newest files"
    if any(is_refused(answer) for answer in failed):
        return fail(message, if_refused)
    if any(_is_transient(answer.status) for answer in failed):
        return CheckResult(CheckStatus.FAIL, message, _CHECK_LOG, unreachable=True)
    if failed:
        return warning(message, "Check that the files exist: rows with missing files fail")
    try:
        for answer in answers:
            require_online(name, answer.headers)
    except RowError as error:
        return warning(f"newest files: {error.message}", "Rows with archived files fail")
    return ok(f"{name}: newest files readable ({len(answers)} requested)")


def _is_transient(status: int) -> bool:
    return error_classes.of_http(status) is error_classes.ErrorClass.TRANSIENT


def check_sas(name: str, token: str | None, now: datetime) -> CheckResult:
    """Check the permissions and times of a SAS, without a request."""
    if token is None:
        return ok(f"{name}: no SAS set, so its files must be readable without one")
    parts = {key: values[0] for key, values in parse_qs(token).items()}
    if "sig" not in parts:
        return fail(f"{name}: the SAS has no signature (sig=)", _RENEW)
    if "si" not in parts and "r" not in parts.get("sp", ""):
        return fail(f"{name}: the SAS has no read permission (r in sp=)", f"{_RENEW} that has it")
    if "srt" in parts and "o" not in parts["srt"]:
        return fail(f"{name}: the SAS is not valid for blobs (o in srt=)", f"{_RENEW} that is")
    return _check_sas_times(name, parts, now)


def _check_sas_times(name: str, parts: Mapping[str, str], now: datetime) -> CheckResult:
    start, expiry = _time(parts.get("st")), _time(parts.get("se"))
    if start is not None and start > now:
        return fail(f"{name}: the SAS is not valid before {start:%Y-%m-%d %H:%M} UTC", _RENEW)
    if expiry is None:
        if "si" in parts:
            return ok(f"{name}: the SAS uses a stored access policy")
        return fail(f"{name}: the SAS has no valid expiry time (se=)", _RENEW)
    verb = "expired" if expiry <= now else "expires"
    message = f"{name}: the SAS {verb} at {expiry:%Y-%m-%d %H:%M} UTC"
    if expiry <= now:
        return fail(message, _RENEW)
    if expiry - now < _EXPIRES_SOON:
        return warning(f"{message}, within 24 hours", _RENEW)
    return ok(message)


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
