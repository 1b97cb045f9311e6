"""The hosts of the source files: reach, SAS, and a few of the newest files."""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs

from yarl import URL

from rogo_async.commands.check.data_dir import NEWEST_ROWS, Directory
from rogo_async.commands.check.probe import Once, answered, soon
from rogo_async.commands.check.results import Check, Findings, State, Verdict, fail, ok, warning
from rogo_async.common import error_classes
from rogo_async.common.errors import Dependency, RowError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.settings import Settings
from rogo_async.common.urls import Origin, origin
from rogo_async.rules.files import split_urls
from rogo_async.rules.records import SourceRow
from rogo_async.sources.http_files import Sources, name_of

_FILES: Final = 3
_SOON: Final = timedelta(hours=24)
_SETTINGS: Final = ("settings.ROGO_SOURCE_HOSTS", "settings.ROGO_SOURCE_SAS_TOKEN")
_ADVICE: Final = "See that the host runs and that ROGO_SOURCE_HOSTS spells it rightly"
_RENEW: Final = "Put a new one into ROGO_SOURCE_SAS_TOKEN"


class SourceChecks:
    """The checks of each host, the hosts side by side."""

    def __init__(self, settings: Settings, findings: Findings, directory: Directory) -> None:
        self._settings = settings
        self._findings = findings
        self._directory = directory
        self._sources: Sources

    async def execute(self, inputs: Awaitable[object]) -> None:
        """Make them; the files' once ``inputs`` has read the rows that name them."""
        findings, places = self._findings, sorted(self._settings.allow_list.origins)
        if not findings.stands("settings.ROGO_SOURCE_HOSTS"):
            findings.skip("source.hosts", "settings.ROGO_SOURCE_HOSTS")
            await inputs
            findings.skip("source.allowed", "settings.ROGO_SOURCE_HOSTS")
            return
        async with contextlib.aclosing(HttpSession()) as http:
            self._sources = Sources(
                http,
                self._settings.allow_list,
                self._settings.source_sas,
                lambda _probe, _host: Once(Dependency.SOURCE),
            )
            await asyncio.gather(*[findings.carry_out(self._host(place)) for place in places])
            await inputs
            await findings.carry_out(
                [Check("source.allowed", self._allowed, ("inputs.submissions",))]
            )
            await asyncio.gather(*[findings.carry_out([self._files(place)]) for place in places])

    def _host(self, place: Origin) -> list[Check]:
        name = name_of(place)

        async def reach() -> Verdict:
            return await self._reach(place)

        async def sas() -> Verdict:
            return sas_verdict(name, self._settings.source_sas.get(place), datetime.now(UTC))

        return [
            Check(f"source.{name}.sas", sas, _SETTINGS),
            Check(f"source.{name}.reach", reach, _SETTINGS, f"{name}: {_ADVICE}"),
        ]

    def _files(self, place: Origin) -> Check:
        name = name_of(place)

        async def files() -> Verdict:
            return await self._asked(place)

        needs = (f"source.{name}.reach", f"source.{name}.sas", "inputs.submissions")
        return Check(f"source.{name}.files", files, needs, f"{name}: {_ADVICE}")

    async def _reach(self, place: Origin) -> Verdict:
        scheme, host, port = place
        root = URL.build(scheme=scheme, host=host, port=port, path="/")
        status = await soon(lambda: self._status(root))
        name = name_of(place)
        if error_classes.of_http(status) is error_classes.ErrorClass.TRANSIENT:
            return Verdict(
                State.FAIL, f"{name} answers {status}", "See what ails it there", away=True
            )
        return ok(f"{name} answers")

    async def _allowed(self) -> Verdict:
        strange = [
            fault.message
            for _, fault in _addresses(self._directory.newest, self._settings)
            if fault
        ]
        if strange:
            shown = "; ".join(sorted(set(strange))[:_FILES])
            return warning(
                f"{len(strange):,} files of the newest {NEWEST_ROWS:,} rows may not be fetched: "
                f"{shown}",
                "Add the host to ROGO_SOURCE_HOSTS if it is one of yours",
            )
        return ok(f"the files of the newest {NEWEST_ROWS:,} rows are all on these hosts")

    async def _asked(self, place: Origin) -> Verdict:
        """Ask for the newest files of a host, as many as are told apart."""
        name = name_of(place)
        urls = list(
            dict.fromkeys(
                url
                for url, _ in _addresses(self._directory.newest, self._settings)
                if url is not None and origin(url) == place
            )
        )[:_FILES]
        if not urls:
            return ok(f"{name}: no file of the newest {NEWEST_ROWS:,} rows is there")
        statuses = await asyncio.gather(*[self._status(url) for url in urls])
        return _files_verdict(name, statuses)

    async def _status(self, url: URL) -> int:
        host = self._sources.host(url)
        response = await answered(Dependency.SOURCE, lambda: host.request("HEAD", url, {}))
        response.close()
        return response.status


def _addresses(
    rows: list[SourceRow], settings: Settings
) -> list[tuple[URL | None, RowError | None]]:
    """Each address in the rows, or why it may not be fetched."""
    found: list[tuple[URL | None, RowError | None]] = []
    for row in rows:
        if row.malformed is None:
            for address in (*split_urls(row.learner_urls), *split_urls(row.marker_urls)):
                try:
                    found.append((settings.allow_list.permit(address), None))
                except RowError as fault:
                    found.append((None, fault))
    return found


def _files_verdict(name: str, statuses: list[int]) -> Verdict:
    shown = f"{name} answers {', '.join(map(str, statuses))} for the newest files"
    if any(status in {401, 403} for status in statuses):
        return fail(shown, f"{_RENEW}, or grant read access there")
    if any(
        error_classes.of_http(status) is error_classes.ErrorClass.TRANSIENT for status in statuses
    ):
        return Verdict(State.FAIL, shown, "See what ails it there", away=True)
    if any(status >= 400 for status in statuses):
        return warning(shown, "See whether the files are where the rows say: rows without fail")
    return ok(f"{name} gives the newest files ({len(statuses)} were asked for)")


def sas_verdict(name: str, token: str | None, now: datetime) -> Verdict:
    """What can be told of a SAS without asking: its times and its permissions."""
    if token is None:
        return ok(f"{name}: no SAS is set, its files must be readable without")
    parts = {key: values[0] for key, values in parse_qs(token).items()}
    if "sig" not in parts:
        return fail(f"{name}: the SAS has no signature (sig=)", _RENEW)
    if "si" not in parts and "r" not in parts.get("sp", ""):
        return fail(f"{name}: the SAS does not permit reading (r in sp=)", f"{_RENEW} that does")
    if "srt" in parts and "o" not in parts["srt"]:
        return fail(f"{name}: the SAS is not for blobs (o in srt=)", f"{_RENEW} that is")
    return _times_verdict(name, parts, now)


def _times_verdict(name: str, parts: Mapping[str, str], now: datetime) -> Verdict:
    begins, ends = _time(parts.get("st")), _time(parts.get("se"))
    if begins is not None and begins > now:
        return fail(f"{name}: the SAS begins to count at {begins:%Y-%m-%d %H:%M} UTC", _RENEW)
    if ends is None:
        if "si" in parts:
            return ok(f"{name}: the SAS follows a stored access policy")
        return fail(f"{name}: the SAS has no time of expiry that can be read (se=)", _RENEW)
    shown = (
        f"{name}: the SAS {'expired' if ends <= now else 'expires'} at {ends:%Y-%m-%d %H:%M} UTC"
    )
    if ends <= now:
        return fail(shown, _RENEW)
    if ends - now < _SOON:
        return warning(f"{shown}, within a day", _RENEW)
    return ok(shown)


def _time(text: str | None) -> datetime | None:
    try:
        when = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
