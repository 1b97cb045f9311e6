"""Decides for each file whether the service copies it or it is streamed (rule 14).

A file is streamed whenever the service does not copy it, so a decision never fails a row.
"""

import asyncio
import re
from typing import Final

import structlog
from yarl import URL

from rogo_async.common.errors import DependencyError, FailureCode, RowError
from rogo_async.common.settings import CopyMode
from rogo_async.common.urls import Origin, origin
from rogo_async.destination.blobs.service_copy import (
    LONGEST_URL,
    MOST_BYTES,
    CopyDeclined,
    CopySource,
    ServiceCopy,
)
from rogo_async.destination.blobs.store import Blob
from rogo_async.rules.records import Route
from rogo_async.sources.answers import FileInfo
from rogo_async.sources.host_access import ReadableUrl
from rogo_async.sources.http_files import SourceHost, Sources, name_of

EXTRA_REQUESTS: Final = 10
"""The most requests for copies that a host costs in a run in which none is accepted."""
_MOST_EXTRA_REQUESTS: Final = 100
_EARNED: Final = 4
"""Each accepted copy allows this many further requests for copies that are declined."""
_REQUESTS: Final = 3
"""The most requests of one declined copy: HEAD with each of two SAS, and the copy."""
_AZURE_HOST: Final = re.compile(
    r"[a-z0-9-]+(\.z[0-9]+)?(\.privatelink)?\.blob\.(core|storage)\.[a-z0-9.-]+"
)
log = structlog.get_logger()


def source_of(info: FileInfo, readable: ReadableUrl) -> CopySource:
    """What the service is asked to copy. Raises CopyDeclined if that would not be safe."""
    if info.size_bytes is None:
        raise CopyDeclined(Route.NO_LENGTH)
    if info.md5 is None:
        raise CopyDeclined(Route.NO_MD5)
    if info.etag is None:
        raise CopyDeclined(Route.NO_ETAG)
    if info.size_bytes > MOST_BYTES:
        raise CopyDeclined(Route.TOO_LARGE)
    if len(str(readable.url)) > LONGEST_URL:
        raise CopyDeclined(Route.URL_TOO_LONG)
    return CopySource(readable.url, readable.authorization, info.etag, info.size_bytes, info.md5)


def require_candidate(host: SourceHost, place: Origin, destination: Origin) -> None:
    """Raise CopyDeclined if the service is not asked to copy from a host.

    It is asked if the host is Azure Blob Storage, by its name or since the destination is there
    too, and if the credentials of the host may be sent to the destination.
    """
    if place != destination and not _AZURE_HOST.fullmatch(place[1]):
        raise CopyDeclined(Route.NOT_AZURE)
    if host.access.needs_https and destination[0] != "https":
        raise CopyDeclined(Route.NOT_HTTPS)


class HostRecord:
    """Whether the service copies from one host, as far as this run knows.

    Before the first accepted copy few files are tried, and the others wait for their result: a
    host that always declines costs EXTRA_REQUESTS requests at most.
    """

    def __init__(self) -> None:
        self._spare = EXTRA_REQUESTS
        self._trying = 0
        self._accepted = False
        self._changed = asyncio.Event()

    @property
    def has_accepted(self) -> bool:
        """Whether the service has copied a file of the host."""
        return self._accepted

    @property
    def is_given_up(self) -> bool:
        """Whether no further file is tried."""
        return self._spare < (1 if self._accepted else _REQUESTS)

    async def begin(self) -> bool:
        """Whether to try a file. If so, call ``end`` afterwards."""
        while not self._accepted and self._spare < (self._trying + 1) * _REQUESTS:
            if not self._trying:
                return False
            await self._changed.wait()
        if self.is_given_up:
            return False
        self._trying += 1
        return True

    def end(self, *, accepted: bool, extra_requests: int) -> None:
        """Record a try. ``extra_requests`` were of no use, since the file must be streamed."""
        self._trying -= 1
        self._spare -= extra_requests
        if accepted:
            self._accepted = True
            self._spare = min(_MOST_EXTRA_REQUESTS, self._spare + _EARNED)
        self._changed.set()
        self._changed = asyncio.Event()


class ServerSideCopier:
    """Lets the service copy files, where it does."""

    def __init__(
        self, sources: Sources, service: ServiceCopy, mode: CopyMode, destination: URL
    ) -> None:
        self._sources = sources
        self._service = service
        self._is_off = mode is CopyMode.STREAM
        self._destination = origin(destination)
        self._hosts: dict[Origin, HostRecord] = {}
        self._reported: set[tuple[Origin, Route]] = set()

    async def copy(self, url: URL, blob: Blob) -> CopySource:
        """Copy a file and return what was copied.

        Raises CopyDeclined if it must be streamed, RowError (source_file_missing,
        source_forbidden) and RunStopped.
        """
        if self._is_off:
            raise CopyDeclined(Route.OFF)
        place = origin(url)
        require_candidate(self._sources.host(url), place, self._destination)
        record = self._hosts.setdefault(place, HostRecord())
        if not await record.begin():
            raise CopyDeclined(Route.DECLINED_EARLIER)
        accepted, sent = False, 0
        try:
            sent = 1
            info, readable = await self._look(url)
            source = source_of(info, readable)
            sent = 2
            await self._service.copy(
                blob.described(info.content_encoding, info.content_language), source
            )
            accepted, sent = True, 0
        except RowError:
            sent = 0  # streaming would have sent a request with the same answer
            raise
        except CopyDeclined as declined:
            self._report(place, declined)
            if declined.route is Route.UNKNOWN and not record.has_accepted:
                sent = EXTRA_REQUESTS
            raise
        finally:
            record.end(accepted=accepted, extra_requests=sent)
        self._sources.host(url).record_served(url)
        return source

    async def _look(self, url: URL) -> tuple[FileInfo, ReadableUrl]:
        try:
            return await self._sources.host(url).look(url)
        except DependencyError:
            raise CopyDeclined(Route.NO_PROPERTIES) from None
        except RowError as error:
            if error.code is FailureCode.SOURCE_REFUSED:
                raise CopyDeclined(Route.NO_PROPERTIES) from None
            raise

    def _report(self, place: Origin, declined: CopyDeclined) -> None:
        """Log the first decline of each kind from a host: it may be a setting of the accounts."""
        key = place, declined.route
        if key not in self._reported:
            self._reported.add(key)
            log.info(
                "file streamed instead of copied by the service",
                host=name_of(place),
                reason=declined.route.value,
                answer=declined.detail,
            )
