"""Everything that a command which only looks must leave alone, as one value to compare."""

import hashlib
from typing import Any

from tests.support.builders import TABLES, Scenario

LOOKED_AT = ("users", "assessments", "assessment_sections", "malpractice_levels")


async def take_snapshot(scenario: Scenario, *own: str) -> dict[str, Any]:
    """Files but for the command's ``own``, blobs by ETag, rows with the transaction of each."""
    files = {
        str(path.relative_to(scenario.data_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in scenario.data_dir.rglob("*")
        if path.is_file() and path.name not in own
    }
    async with scenario.container() as container:
        blobs = {blob.name: (blob.etag, blob.size) async for blob in container.list_blobs()}
    async with scenario.target() as target:
        rows = {
            name: sorted(
                str(dict(row)) for row in await target.fetch(f'SELECT *, xmin FROM "{name}"')
            )
            for name in (*TABLES, *LOOKED_AT)
        }
    return {"files": files, "blobs": blobs, **rows}
