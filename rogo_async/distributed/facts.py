"""What all workers of a run must have in common, and how it is checked (specification §7).

Nothing secret is part of it: it passes through the scheduler and is printed.
"""

import functools
import hashlib
import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rogo_async import __version__
from rogo_async.common.data_dir import FAILED, MAPPING, SUBMISSIONS
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import Settings, load_settings
from rogo_async.destination.blobs.credentials import Destination

VERSION: Final = "version"
RULES: Final = "settings of the rules"
_REMEDIES: Final = {
    VERSION: "Install the same version of rogo_async",
    "target": "Set the same DATABASE_URL",
    "container": "Set the same AZURE_STORAGE_… and ROGO_CONTAINER",
    RULES: "Set the same ROGO_… of the rules, LMS and source hosts",
}
_SAME_FILE: Final = "Copy the same file there"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker finds the settings and the inputs of a run.

    ``settings`` are those of the command line. A file named ``token`` is in the data directory of
    the operator's command: a worker that sees it has the same directory.
    """

    token: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    input: str | None = None
    with_failed_rows: bool = False
    """Whether rows are selected from the failed-rows file (``--code``)."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker has: ``facts`` by name, or the problems with its settings and files."""

    host: str
    facts: Mapping[str, str]
    problems: Sequence[str] = ()
    shares_directory: bool = False


def report_of(place: Place) -> WorkerReport:
    """The report of this process. Reads the input files once for each of their versions."""
    host = socket.gethostname()
    try:
        settings = load_settings(**place.settings)
        facts = facts_of(settings, place)
    except SetupError as error:
        return WorkerReport(host, {VERSION: __version__}, error.problems)
    is_shared = (settings.rogo_data_dir / place.token).exists()
    return WorkerReport(host, facts, shares_directory=is_shared)


def facts_of(settings: Settings, place: Place) -> dict[str, str]:
    """The facts of these settings and their input files. Raises SetupError."""
    names = settings.target_names
    return {
        VERSION: __version__,
        "target": f"{names['host']}/{names['database']}",
        "container": f"{Destination.of(settings).service_url}/{settings.rogo_container}",
        RULES: settings.rules_digest,
        **{each.name: _file_fact(each) for each in _files(settings, place)},
    }


def digests_of(settings: Settings, place: Place) -> dict[str, str]:
    """The SHA-256 of the input files by name, as in the summary of a shard. Raises SetupError."""
    return {each.name: digest_of(each) for each in _files(settings, place)}


def _files(settings: Settings, place: Place) -> list[Path]:
    data_dir = settings.rogo_data_dir
    files = [Path(place.input) if place.input else data_dir / SUBMISSIONS, data_dir / MAPPING]
    return [*files, data_dir / FAILED] if place.with_failed_rows else files


def _file_fact(path: Path) -> str:
    digest = digest_of(path)
    return f"{path.stat().st_size:,} bytes, SHA-256 {digest}"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file. Raises SetupError."""
    try:
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise SetupError(
            f"{path}: cannot be read ({os.strerror(error.errno or 0)}). {_SAME_FILE}"
        ) from None


@functools.lru_cache(maxsize=8)
def _digest(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(
    expected: Mapping[str, str], worker: str, found: WorkerReport | BaseException
) -> Iterator[str]:
    """One line for each thing that keeps a worker from running shards of this run."""
    if isinstance(found, ImportError):
        yield f"worker {worker}: rogo_async cannot be imported there. {_REMEDIES[VERSION]}"
        return
    if isinstance(found, BaseException):
        yield f"worker {worker}: cannot be checked ({type(found).__name__}). Start it again"
        return
    name = f"worker {worker} on {found.host}"
    for problem in found.problems:
        yield f"{name}: {problem}"
    for what, value in expected.items():
        theirs = found.facts.get(what)
        if theirs == value or (theirs is None and found.problems):
            continue
        shown = "differ" if what == RULES else f"{theirs or 'missing'} instead of {value}"
        yield f"{name}: {what}: {shown}. {_REMEDIES.get(what, _SAME_FILE)}"


def exposures(worker: str, found: WorkerReport, addresses: Collection[str]) -> Iterator[str]:
    """A line if failed rows of this worker would pass through the network in the clear.

    ``addresses`` are those of Dask through which its results pass.
    """
    if not found.shares_directory and not all(map(is_private, addresses)):
        yield (
            f"worker {worker} on {found.host}: its data directory is not that of this "
            "command, so failed rows would pass through the network in the clear. Use TLS "
            "(tls://…), or a shared data directory"
        )


def is_private(address: str) -> bool:
    """Whether nobody else can read what passes through this address of Dask."""
    url = urlsplit(address)
    if url.scheme in {"tls", "wss"}:
        return True
    try:
        return ip_address(url.hostname or "").is_loopback
    except ValueError:  # a name, which may be any address
        return False
