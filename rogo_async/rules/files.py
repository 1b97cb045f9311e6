"""Rule 14: the files of a row, their names, content types and blob names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.text import cell_text
from rogo_async.common.urls import AllowList, name_in_url
from rogo_async.rules.identity import sql_int
from rogo_async.rules.records import FileKind, FileRef, SourceRow

UNNAMED_FILE: Final = "file"
_SEPARATOR: Final = re.compile(r"\s*,\s*(?=https?://)", re.IGNORECASE)
UNKNOWN_TYPE: Final = "application/octet-stream"

_OPENXML: Final = "application/vnd.openxmlformats-officedocument"
_OPENDOCUMENT: Final = "application/vnd.oasis.opendocument"

_TYPES: Final = {
    "7z": "application/x-7z-compressed",
    "aac": "audio/aac",
    "avi": "video/x-msvideo",
    "bmp": "image/bmp",
    "c": "text/plain",
    "cpp": "text/plain",
    "cs": "text/plain",
    "css": "text/css",
    "csv": "text/csv",
    "doc": "application/msword",
    "docm": "application/vnd.ms-word.document.macroEnabled.12",
    "docx": f"{_OPENXML}.wordprocessingml.document",
    "dotx": f"{_OPENXML}.wordprocessingml.template",
    "eml": "message/rfc822",
    "epub": "application/epub+zip",
    "gif": "image/gif",
    "gz": "application/gzip",
    "heic": "image/heic",
    "htm": "text/html",
    "html": "text/html",
    "ipynb": "application/x-ipynb+json",
    "java": "text/plain",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "md": "text/markdown",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpp": "application/vnd.ms-project",
    "msg": "application/vnd.ms-outlook",
    "odp": f"{_OPENDOCUMENT}.presentation",
    "ods": f"{_OPENDOCUMENT}.spreadsheet",
    "odt": f"{_OPENDOCUMENT}.text",
    "ogg": "audio/ogg",
    "pages": "application/vnd.apple.pages",
    "pdf": "application/pdf",
    "png": "image/png",
    "pps": "application/vnd.ms-powerpoint",
    "ppsx": f"{_OPENXML}.presentationml.slideshow",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": f"{_OPENXML}.presentationml.presentation",
    "py": "text/x-python",
    "rar": "application/vnd.rar",
    "rtf": "application/rtf",
    "sql": "application/sql",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "vsdx": "application/vnd.ms-visio.drawing",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "wma": "audio/x-ms-wma",
    "wmv": "video/x-ms-wmv",
    "xls": "application/vnd.ms-excel",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    "xlsx": f"{_OPENXML}.spreadsheetml.sheet",
    "xml": "application/xml",
    "zip": "application/zip",
}


def content_type(extension: str) -> str:
    """Return the content type of an extension (without its dot, in any letter case)."""
    return _TYPES.get(extension.lower(), UNKNOWN_TYPE)


FEEDBACK_EXTENSION: Final = "docx"
FOLDERS: Final = {FileKind.SUBMISSION: "LTI_Uploads", FileKind.FEEDBACK: "Marker_files"}

_KINDS: Final = {folder: kind for kind, folder in FOLDERS.items()}
_BLOB_NAME: Final = re.compile(
    rf"(?P<folder>{'|'.join(FOLDERS.values())})/rogo_(?P<attempt>[0-9]{{1,10}})/"
    r"(?P<submission>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/"
    r"(?P<order>[0-9]{1,6})_[A-Za-z0-9._-]+"
)
_LONGEST_SAFE_NAME: Final = 200
_BYTES_PER_MB: Final = 1_048_576
_EXTENSION: Final = re.compile(r"\.([A-Za-z0-9]{1,10})")
_UNSAFE_IN_PERSON: Final = re.compile(r"[^A-Za-z0-9_-]")
_UNSAFE_IN_BLOB: Final = re.compile(r"[^A-Za-z0-9._-]")
_POINTS: Final = re.compile(r"\.{2,}")
_TIMESTAMP: Final = re.compile(r"^[0-9]{13}_")
"""Begins the names of the source's blobs: milliseconds since 1970."""


def plan_files(row: SourceRow, assessment_code: str, allow: AllowList) -> tuple[FileRef, ...]:
    """List the files of a row: learner files first, then feedback; upload_order from 1.

    Raises RowError files_missing or source_not_allowed.
    """
    learner, marker = split_urls(row.learner_urls), split_urls(row.marker_urls)
    if not learner and not marker:
        raise RowError(FailureCode.FILES_MISSING, "the row has neither learner nor marker files")
    permitted = [allow.permit(url) for url in (*learner, *marker)]
    named = [
        *((FileKind.SUBMISSION, name) for name in split_names(row.learner_file_names, learner)),
        *((FileKind.FEEDBACK, name) for name in _feedback_names(row, assessment_code, marker)),
    ]
    return tuple(
        FileRef(
            kind=kind,
            order=order,
            name=name,
            extension=_extension(name),
            content_type=content_type(_extension(name)),
            url=url,
        )
        for order, ((kind, name), url) in enumerate(zip(named, permitted, strict=True), start=1)
    )


def blob_name(attempt: int, submission_id: str, ref: FileRef) -> str:
    """Return the name of a file's blob (specification §2).

    For any file name it is ASCII, without ``..``, backslashes and control characters, and far
    shorter than the 1,024 characters that the store allows.
    """
    folder = FOLDERS[ref.kind]
    return f"{folder}/rogo_{attempt}/{submission_id}/{ref.order}_{_safe(ref.name, ref.extension)}"


@dataclass(frozen=True, slots=True)
class BlobOwner:
    """The submission and file that a blob belongs to, read from its name."""

    kind: FileKind
    attempt: int
    submission_id: str
    order: int


def owner_of_blob(name: str) -> BlobOwner | None:
    """Read a name made by ``blob_name``; None for any other name."""
    match = _BLOB_NAME.fullmatch(name)
    attempt = sql_int(match["attempt"]) if match else None
    if match is None or attempt is None:
        return None
    return BlobOwner(_KINDS[match["folder"]], attempt, match["submission"], int(match["order"]))


def size_text(size_bytes: int) -> str:
    """Return a size as the platform writes it: ``1.2 MB`` (specification §3, derived values)."""
    return f"{size_bytes / _BYTES_PER_MB:.1f} MB"


def _feedback_names(row: SourceRow, assessment_code: str, urls: Sequence[str]) -> list[str]:
    person = "-".join(_UNSAFE_IN_PERSON.sub("_", name) for name in (row.first_name, row.surname))
    stem = f"{row.assessment_id or assessment_code}_{person}_feedback"
    return [
        f"{stem}{f'_{number}' if len(urls) > 1 else ''}."
        f"{_extension(name_in_url(url)) or FEEDBACK_EXTENSION}"
        for number, url in enumerate(urls, start=1)
    ]


def _extension(name: str) -> str:
    """Return the extension of a name in lower case; empty when it has none."""
    match = _EXTENSION.fullmatch(name, max(name.rfind("."), 0))
    return match[1].lower() if match else ""


def _safe(name: str, extension: str) -> str:
    tail = f".{extension}" if _EXTENSION.fullmatch(f".{extension}") else ""
    safe = _POINTS.sub(".", _UNSAFE_IN_BLOB.sub("_", name))
    if tail and safe.lower().endswith(tail.lower()):
        safe = safe[: -len(tail)]
    stem = safe.strip(".")[: _LONGEST_SAFE_NAME - len(tail)].rstrip(".") or UNNAMED_FILE
    return f"{stem}{tail.lower()}"


def split_urls(cell: str) -> tuple[str, ...]:
    """Return the URLs of a cell (specification §1): a comma separates only before http(s)://."""
    return tuple(url for part in _SEPARATOR.split(cell) if (url := part.strip()))


def split_names(cell: str, urls: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each URL, never an empty one (specification §1).

    A name may contain commas, so the whole cell is the name of a single URL. Several names are
    paired with URLs by position only if there are as many names as URLs. Otherwise, and for an
    empty name, the name is taken from the URL.
    """
    names = [cell_text(name) for name in ([cell] if len(urls) == 1 else cell.split(","))]
    if len(names) != len(urls):
        names = [""] * len(urls)
    return tuple(name or _original_name(url) for name, url in zip(names, urls, strict=True))


def _original_name(url: str) -> str:
    """The last path segment of a URL without the timestamp of the source's blob names."""
    return _TIMESTAMP.sub("", name_in_url(url)).strip() or UNNAMED_FILE
