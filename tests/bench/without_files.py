"""A run that writes all rows and copies no file: ``python -m tests.bench.without_files``.

A bench that needs many rows in the target does not have to wait for the embedded blob store. The
rows are those of any run; each file is said to have ``SIZE_BYTES``.
"""

import asyncio
import os
import sys

from rogo_async.commands import runner
from rogo_async.common.logging import configure, format_for
from rogo_async.common.settings import load_settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.pipeline.file_copier import FileCopier
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection
from rogo_async.rules.records import FileRef, Identity, StoredFile

SIZE_BYTES = 200


async def stored(copier: FileCopier, ref: FileRef, identity: Identity) -> StoredFile:
    """The record of a file that is not stored."""
    name = copier._blob_of(ref, identity).name
    return StoredFile(ref, name, copier._store.url_of(name), SIZE_BYTES, b"")


def main() -> None:
    """Run the migration."""
    settings = load_settings()
    configure(format_for(sys.stderr, None), colors=False)
    FileCopier._copy_file = stored  # type: ignore[assignment, method-assign]
    with asyncio.Runner(loop_factory=runner._loop_factory()) as loop_runner:
        ending = loop_runner.run(Run(settings, Selection(), None).execute())
    os._exit(0 if ending.exit_code is ExitCode.DONE else 1)


if __name__ == "__main__":
    main()
