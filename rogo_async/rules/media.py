"""Content types by extension (SPEC §2): a table of our own, for the system's differs by machine."""

from typing import Final

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
    """Give the content type of an extension without its point, any case."""
    return _TYPES.get(extension.lower(), UNKNOWN_TYPE)
