"""Small real documents, each made from a seed when its bytes are wanted.

A Word document opens in Word, a PDF has a sound cross-reference table, and each has exactly
the length that was asked for: sizes are known without making a single byte. Nothing is held.
"""

import hashlib
import io
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rogo_async.demo.dataset.prose import SENTENCES

CONTENT_TYPES = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pdf": "application/pdf",
    "txt": "text/plain",
}
"""The content type that a stored file must have, by its extension."""

BLOCK_BYTES = 4 * 1024 * 1024
"""A body longer than this comes in blocks of this length."""

_PDF_PAGE_BYTES = 3_000


@dataclass(frozen=True, slots=True)
class BlobSpec:
    """A file at the source: where it stands and what its bytes are.

    ``path`` is relative to the container's URL and percent-encoded as it stands in the URL.
    ``md5_is_wrong`` says that the store states an MD5 that is not that of the bytes.
    """

    path: str
    extension: str
    seed: int
    size_bytes: int
    md5_is_wrong: bool = False

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in blocks of at most BLOCK_BYTES; the same ones every time."""
        if self.size_bytes <= BLOCK_BYTES:
            yield make_document(self.extension, self.size_bytes, self.seed)
            return
        block = make_document("txt", BLOCK_BYTES, self.seed)
        for start in range(0, self.size_bytes, BLOCK_BYTES):
            head = b"%020d\n" % start
            yield (head + block[len(head) :])[: self.size_bytes - start]

    def body(self) -> bytes:
        """All the bytes at once."""
        return b"".join(self.chunks())

    def md5(self) -> bytes:
        """The MD5 of the bytes, computed anew."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.digest()


def make_document(extension: str, size_bytes: int, seed: int) -> bytes:
    """A document of exactly ``size_bytes``.

    Raises ValueError when the format (docx, pdf or txt) is unknown or cannot be that short.
    """
    rng = random.Random(seed)
    match extension:
        case "docx":
            room = size_bytes - len(_docx(""))
            return _docx(_filled(rng, room, _PARAGRAPH_OPEN, _PARAGRAPH_CLOSE))
        case "pdf":
            return _pdf_of_size(rng, size_bytes)
        case "txt":
            return _filled(rng, size_bytes, "", "\r\n").encode("ascii")
    raise ValueError(f"no document of the kind {extension!r} can be made")


def _filled(rng: random.Random, length: int, before: str, after: str) -> str:
    """Prose of exactly ``length`` characters, each piece between ``before`` and ``after``."""
    if length < 0:
        raise ValueError("too short for a document of this kind")
    shell = len(before) + len(after)
    pieces: list[str] = []
    while length > shell:
        text = " ".join(rng.choices(SENTENCES, k=3))[: length - shell]
        pieces.append(f"{before}{text}{after}")
        length -= shell + len(text)
    return "".join(pieces) + " " * length


_CONTENT_TYPES_XML = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/word/document.xml" ContentType="application/'
    'vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONSHIPS_XML = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)
_DOCUMENT_XML = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    "<w:body>%s<w:sectPr/></w:body></w:document>"
)
_PARAGRAPH_OPEN = '<w:p><w:r><w:t xml:space="preserve">'
_PARAGRAPH_CLOSE = "</w:t></w:r></w:p>"


def _docx(paragraphs: str) -> bytes:
    parts = {
        "[Content_Types].xml": _CONTENT_TYPES_XML,
        "_rels/.rels": _RELATIONSHIPS_XML,
        "word/document.xml": _DOCUMENT_XML % paragraphs,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 9, 2, 8, 0, 0)), text)
    return buffer.getvalue()


def _pdf_of_size(rng: random.Random, size_bytes: int) -> bytes:
    pages = max(1, size_bytes // (_PDF_PAGE_BYTES + 400))
    room = size_bytes - _pdf_overhead(pages)
    each, rest = divmod(room, pages)
    texts = [_filled(rng, each, "(", ") Tj T*\n") for _ in range(pages - 1)]
    return _pdf([*texts, _filled(rng, each + rest, "(", ") Tj T*\n")])


@lru_cache(maxsize=1024)
def _pdf_overhead(pages: int) -> int:
    return len(_pdf([""] * pages))


def _pdf(page_texts: list[str]) -> bytes:
    """A PDF with a page for each text. Lengths are zero-padded, so its size is predictable."""
    count = len(page_texts)
    kids = " ".join(f"{4 + 2 * page} 0 R" for page in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for page, text in enumerate(page_texts):
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * page} 0 R >>"
        )
        stream = f"BT /F1 9 Tf 40 800 Td 12 TL\n{text}\nET"
        objects.append(f"<< /Length {len(stream):010d} >>\nstream\n{stream}\nendstream")
    body = "%PDF-1.4\n"
    offsets: list[int] = []
    parts = [body]
    position = len(body)
    for number, content in enumerate(objects, start=1):
        part = f"{number} 0 obj\n{content}\nendobj\n"
        offsets.append(position)
        parts.append(part)
        position += len(part)
    parts.append(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n")
    parts.extend(f"{offset:010d} 00000 n \n" for offset in offsets)
    parts.append(
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{position:010d}\n%%EOF\n"
    )
    return "".join(parts).encode("ascii")
