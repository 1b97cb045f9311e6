"""What the answer of a source host says about a file."""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from yarl import URL

from rogo_async.common.error_classes import code_of, is_access_refused
from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.http_session import Response
from rogo_async.sources.signed_urls import expiry_text, has_signature

_RANGE: Final = re.compile(
    r"bytes (?P<first>[0-9]{1,19})-(?P<last>[0-9]{1,19})/(?P<total>[0-9]{1,19}|\*)"
)
_CODING: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")
_LANGUAGES: Final = re.compile(r"[A-Za-z0-9-]{1,35}(?: ?, ?[A-Za-z0-9-]{1,35}){0,9}")
_MOST_CODINGS: Final = 5

_NO_ANONYMOUS_ACCESS: Final = "the account does not allow access without a SAS"
_ARCHIVED: Final = (
    "the file is in the archive tier. Rehydrate its blob to the tier Hot, Cool or Cold, "
    "then run again"
)
_MEANING_OF_CODE: Final = {
    "AccountIsDisabled": "the account is disabled",
    "AuthenticationFailed": "the SAS or the access token is wrong or has expired",
    "AuthorizationFailure": "the firewall of the account refuses this machine",
    "AuthorizationPermissionMismatch": "no permission to read. A SAS needs sp=r, an identity "
    "the role Storage Blob Data Reader",
    "BlobArchived": _ARCHIVED,
    "BlobBeingRehydrated": "the file is being rehydrated from the archive tier. Wait until this is "
    "done, which takes up to 15 hours, then run again",
    "NoAuthenticationInformation": _NO_ANONYMOUS_ACCESS,
    "PublicAccessNotPermitted": _NO_ANONYMOUS_ACCESS,
    "ResourceNotFound": _NO_ANONYMOUS_ACCESS,
}


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The headers of a file, read before its bytes; None for a missing header.

    The stored blob has the same ``content_encoding`` and ``content_language``, since they describe
    its bytes (docs/decisions/21-headers-of-the-source.md).
    """

    size_bytes: int | None = None
    md5: bytes | None = None
    etag: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None

    @classmethod
    def of(cls, response: Response) -> Self:
        """Read the headers of a response with the whole file.

        Raises RowError source_refused if it does not say how its bytes are encoded.
        """
        headers = response.headers
        try:
            md5 = binascii.a2b_base64(headers.get("Content-MD5", ""), strict_mode=True)
        except ValueError:
            md5 = b""
        etag = headers.get("ETag")
        language = headers.get("Content-Language", "").strip()
        return cls(
            size_bytes=response.size_bytes,
            md5=md5 if len(md5) == 16 else None,
            etag=etag if etag is not None and etag.isascii() else None,
            content_encoding=_content_encoding(headers.getall("Content-Encoding", [])),
            content_language=language if _LANGUAGES.fullmatch(language) else None,
        )

    def is_continued_by(self, response: Response, offset: int) -> bool:
        """Whether a response has the rest of the same file, from ``offset`` to its end."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or found is None or int(found["first"]) != offset:
            return False
        if response.headers.get("ETag") not in {None, self.etag}:
            return False
        encoding = response.headers.getall("Content-Encoding", [])
        if encoding and _content_encoding(encoding) != self.content_encoding:
            return False
        if found["total"] == "*":
            return self.size_bytes in {None, int(found["last"]) + 1}
        total = int(found["total"])
        return int(found["last"]) == total - 1 and self.size_bytes in {None, total}


def _content_encoding(values: list[str]) -> str | None:
    """The codings of a body in the order of their application; None if it has none."""
    codings = [coding.strip().lower() for value in values for coding in value.split(",")]
    codings = [coding for coding in codings if coding not in {"", "identity"}]
    if len(codings) > _MOST_CODINGS or not all(map(_CODING.fullmatch, codings)):
        raise RowError(
            FailureCode.SOURCE_REFUSED, "the source answered with an invalid Content-Encoding"
        )
    return ", ".join(codings) or None


def is_refused(response: Response) -> bool:
    """Whether a source refuses access to a file."""
    return is_access_refused(response.status, code_of(response.headers))


def answer_text(host: str, response: Response) -> str:
    """An answer that is not a success, for messages. It contains no part of the URL."""
    code = code_of(response.headers)
    text = f"{host} answered {response.status}"
    if code is None:
        return text
    meaning = _MEANING_OF_CODE.get(code)
    return f"{text} ({code}{f': {meaning}' if meaning else ''})"


def refusal_text(host: str, url: URL, other: str, response: Response) -> str:
    """``answer_text`` of a refused access, with the SAS that was refused.

    ``other`` says what was refused besides a SAS inside the URL.
    """
    text = answer_text(host, response)
    if not has_signature(url):
        return text
    own = expiry_text(url, datetime.now(UTC)) or " was refused"
    return f"{text}: the SAS inside the URL{own}, and {other}"


def require_online(host: str, headers: Mapping[str, str]) -> None:
    """Raise RowError source_refused for a blob in the archive tier (answer to HEAD)."""
    if headers.get("x-ms-access-tier", "").lower() != "archive":
        return
    pending = headers.get("x-ms-archive-status", "").startswith("rehydrate-pending")
    code = "BlobBeingRehydrated" if pending else "BlobArchived"
    raise RowError(FailureCode.SOURCE_REFUSED, f"{host}: {code}: {_MEANING_OF_CODE[code]}")
