"""Packs what a shard left, for an operator's command that does not see its directory.

It contains failed rows, thus personal data: it passes through the scheduler only if the connection
is encrypted (``cluster.py`` checks that).
"""

import io
import tarfile
from pathlib import Path
from typing import Final

from rogo_async.common.data_dir import FAILED
from rogo_async.common.files import make_private_directory, write_private
from rogo_async.destination.postgres.journal import add_lines, is_journal

_RUNS: Final = "runs"


def packed(directory: Path, run_id: str) -> bytes:
    """The failed-rows file, summary, journal and timeline of a shard. Raises OSError."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path in (directory / FAILED, *(directory / _RUNS).glob(f"{run_id}.*")):
            if path.is_file():
                archive.add(path, path.relative_to(directory), recursive=False)
    return content.getvalue()


def unpack(files: bytes, directory: Path) -> None:
    """Write what was packed into the directory of the shard. Raises OSError.

    A journal of an earlier try, which wrote into this directory, keeps its lines.
    """
    for each in (directory.parents[1], directory.parent, directory, directory / _RUNS):
        make_private_directory(each)
    with tarfile.open(fileobj=io.BytesIO(files), mode="r:gz") as archive:
        for member in archive:
            target = directory / (FAILED if member.name == FAILED else _RUNS)
            if member.name != FAILED:
                target /= Path(member.name).name
            content = archive.extractfile(member)
            if content is None:
                continue
            if is_journal(target):
                add_lines(target, content)
            else:
                write_private(target, content.read())
