"""A snapshot of everything that a read-only command must not change."""

import hashlib
from typing import Any

from tests.support.builders import TABLES, Scenario

READ_ONLY_TABLES = ("users", "assessments", "assessment_sections", "malpractice_levels")


async def take_snapshot(scenario: Scenario, *own: str) -> dict[str, Any]:
    """Files except the command's ``own``, blobs by ETag, and rows with their transaction ids."""
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
            for name in (*TABLES, *READ_ONLY_TABLES)
        }
    return {"files": files, "blobs": blobs, **rows}
