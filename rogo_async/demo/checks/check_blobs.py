"""Compares the blobs of the destination container with the source files."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from rogo_async.demo.checks.check_postgres import MigratedFile
from rogo_async.demo.checks.comparison import CheckResult, Comparison
from rogo_async.demo.servers.blob_container import Container, StoredBlob, run_concurrently
from rogo_async.rules.records import FileKind


async def check_blobs(
    container: Container, files: Sequence[MigratedFile], files_expected: int
) -> list[CheckResult]:
    """``files_expected`` is the expected number of files."""
    stored = await container.listing()
    return [
        await _check_bytes(container, files, stored, files_expected),
        _check_properties(files, stored),
        _check_no_orphans(files, stored),
    ]


async def _check_bytes(
    container: Container,
    files: Sequence[MigratedFile],
    stored: Mapping[str, StoredBlob],
    files_expected: int,
) -> CheckResult:
    check = Comparison("blobs are identical to their source files")
    check.equal("number of files", files_expected, len(files))
    total_bytes = 0

    async def compare(file: MigratedFile) -> None:
        nonlocal total_bytes
        what = f"attempt {file.attempt}, file {file.expected.order}"
        if file.blob_name not in stored:
            check.add_difference(f"{what}: blob {file.blob_name!r} missing")
            return
        size_bytes, md5 = await container.digest(quote(file.blob_name))
        total_bytes += size_bytes
        check.rows += 1
        check.equal(f"{what}: size", file.expected.source.size_bytes, size_bytes)
        check.equal(f"{what}: MD5", file.expected.source.md5().hex(), md5.hex())

    await run_concurrently(compare, files)
    return check.result(f"{check.rows:,} blobs, {total_bytes / 1_048_576:,.0f} MB")


def _check_properties(
    files: Sequence[MigratedFile], stored: Mapping[str, StoredBlob]
) -> CheckResult:
    check = Comparison("blobs have the expected content type, MD5 and metadata")
    names = {file.blob_name for file in files}
    for file in files:
        blob = stored.get(file.blob_name)
        if blob is None:
            check.add_difference(f"attempt {file.attempt}: blob {file.blob_name!r} missing")
            continue
        check.rows += 1
        _check_blob_properties(check, file, blob)
    runs = {blob.metadata.get("runId") for blob in stored.values() if blob.name in names}
    if len(runs) != 1:
        check.add_difference(f"the metadata have {len(runs)} run ids instead of one")
    return check.result(f"{check.rows:,} blobs")


def _check_blob_properties(check: Comparison, file: MigratedFile, blob: StoredBlob) -> None:
    what = f"attempt {file.attempt}, file {file.expected.order}"
    found_type = blob.content_type.partition(";")[0]
    check.equal(f"{what}: content type", file.expected.content_type, found_type)
    reported = blob.md5.hex() if blob.md5 else None
    check.equal(f"{what}: reported MD5", file.expected.source.md5().hex(), reported)
    metadata = {key.lower(): value for key, value in blob.metadata.items()}
    check.equal(f"{what}: attemptId", str(file.attempt), metadata.get("attemptid"))
    check.equal(f"{what}: migratedFrom", "rogo_warehouse", metadata.get("migratedfrom"))
    feedback = "marker_feedback" if file.expected.kind is FileKind.FEEDBACK else None
    check.equal(f"{what}: fileType", feedback, metadata.get("filetype"))
    for key in ("runid", "target"):
        if not metadata.get(key):
            check.add_difference(f"{what}: metadata {key!r} missing")


def _check_no_orphans(
    files: Sequence[MigratedFile], stored: Mapping[str, StoredBlob]
) -> CheckResult:
    check = Comparison("no orphaned blobs")
    referenced = {file.blob_name for file in files}
    for name in stored:
        if name not in referenced:
            check.add_difference(f"no row refers to {name!r}")
    return check.result(f"{len(stored):,} blobs")
