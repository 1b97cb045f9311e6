"""The destination container after a run: every blob downloaded and held against its source."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from rogo_async.demo.checks.check_postgres import MigratedFile
from rogo_async.demo.checks.comparison import CheckResult, Comparison
from rogo_async.demo.servers.blob_container import Container, StoredBlob, run_concurrently
from rogo_async.rules.records import FileKind


async def check_blobs(
    container: Container, files: Sequence[MigratedFile], files_expected: int
) -> list[CheckResult]:
    """``files_expected`` is how many files the known answer has."""
    stored = await container.listing()
    return [
        await _check_bytes(container, files, stored, files_expected),
        _check_labels(files, stored),
        _check_no_others(files, stored),
    ]


async def _check_bytes(
    container: Container,
    files: Sequence[MigratedFile],
    stored: Mapping[str, StoredBlob],
    files_expected: int,
) -> CheckResult:
    check = Comparison("every file has its blob, byte for byte")
    check.equal("the number of files", files_expected, len(files))
    total_bytes = 0

    async def compare(file: MigratedFile) -> None:
        nonlocal total_bytes
        what = f"attempt {file.attempt}, file {file.expected.order}"
        if file.blob_name not in stored:
            check.add_difference(f"{what}: there is no blob {file.blob_name!r}")
            return
        size_bytes, md5 = await container.digest(quote(file.blob_name))
        total_bytes += size_bytes
        check.rows += 1
        check.equal(f"{what}: the length", file.expected.source.size_bytes, size_bytes)
        check.equal(f"{what}: the MD5", file.expected.source.md5().hex(), md5.hex())

    await run_concurrently(compare, files)
    return check.result(f"{check.rows:,} blobs, {total_bytes / 1_048_576:,.0f} MB")


def _check_labels(files: Sequence[MigratedFile], stored: Mapping[str, StoredBlob]) -> CheckResult:
    check = Comparison("blobs have their content type, MD5 and metadata")
    names = {file.blob_name for file in files}
    for file in files:
        blob = stored.get(file.blob_name)
        if blob is None:
            check.add_difference(f"attempt {file.attempt}: there is no blob {file.blob_name!r}")
            continue
        check.rows += 1
        _check_label(check, file, blob)
    runs = {blob.metadata.get("runId") for blob in stored.values() if blob.name in names}
    if len(runs) != 1:
        check.add_difference(f"the metadata name {len(runs)} runs, not one")
    return check.result(f"{check.rows:,} blobs")


def _check_label(check: Comparison, file: MigratedFile, blob: StoredBlob) -> None:
    what = f"attempt {file.attempt}, file {file.expected.order}"
    found_type = blob.content_type.partition(";")[0]
    check.equal(f"{what}: the content type", file.expected.content_type, found_type)
    stated = blob.md5.hex() if blob.md5 else None
    check.equal(f"{what}: the stated MD5", file.expected.source.md5().hex(), stated)
    metadata = {key.lower(): value for key, value in blob.metadata.items()}
    check.equal(f"{what}: attemptId", str(file.attempt), metadata.get("attemptid"))
    check.equal(f"{what}: migratedFrom", "rogo_warehouse", metadata.get("migratedfrom"))
    feedback = "marker_feedback" if file.expected.kind is FileKind.FEEDBACK else None
    check.equal(f"{what}: fileType", feedback, metadata.get("filetype"))
    for key in ("runid", "target"):
        if not metadata.get(key):
            check.add_difference(f"{what}: the metadata {key!r} is missing")


def _check_no_others(
    files: Sequence[MigratedFile], stored: Mapping[str, StoredBlob]
) -> CheckResult:
    check = Comparison("no blob stands there that no row refers to")
    known = {file.blob_name for file in files}
    for name in stored:
        if name not in known:
            check.add_difference(f"nothing refers to {name!r}")
    return check.result(f"{len(stored):,} blobs")
