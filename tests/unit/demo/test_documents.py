"""The generated documents are real ones, of exactly the length asked for."""

import io
import re
import zipfile
from xml.etree import ElementTree as ET

import pytest

from rogo_async.demo.dataset.documents import BLOCK_BYTES, BlobSpec, make_document


@pytest.mark.parametrize("extension", ["docx", "pdf", "txt"])
@pytest.mark.parametrize("size_bytes", [2_048, 2_049, 3_401, 60_000, 300_001])
def test_a_document_has_exactly_the_size_asked_for(extension: str, size_bytes: int) -> None:
    assert len(make_document(extension, size_bytes, seed=3)) == size_bytes


def test_the_seed_decides_the_bytes() -> None:
    assert make_document("pdf", 5_000, 1) == make_document("pdf", 5_000, 1)
    assert make_document("pdf", 5_000, 1) != make_document("pdf", 5_000, 2)


def test_a_word_document_opens() -> None:
    with zipfile.ZipFile(io.BytesIO(make_document("docx", 20_000, 1))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        for name in names:
            ET.fromstring(archive.read(name))
    assert names == ["[Content_Types].xml", "_rels/.rels", "word/document.xml"]


def test_the_cross_reference_table_of_a_pdf_points_at_its_objects() -> None:
    pdf = make_document("pdf", 20_000, 1)
    start = int(pdf.rsplit(b"startxref\n", 1)[1].split(b"\n")[0])
    assert pdf[start:].startswith(b"xref\n")
    offsets = [int(entry) for entry in re.findall(rb"(\d{10}) 00000 n \n", pdf[start:])]
    assert len(offsets) > 5
    for number, offset in enumerate(offsets, start=1):
        assert pdf[offset:].startswith(b"%d 0 obj\n" % number)
    for length, stream in re.findall(
        rb"/Length (\d+) >>\nstream\n(.*?)\nendstream", pdf, re.DOTALL
    ):
        assert int(length) == len(stream)


def test_an_empty_text_is_possible_and_an_empty_word_document_is_not() -> None:
    assert make_document("txt", 0, 1) == b""
    with pytest.raises(ValueError, match="too short"):
        make_document("docx", 100, 1)
    with pytest.raises(ValueError, match="kind"):
        make_document("exe", 100, 1)


def test_a_large_file_comes_in_blocks_that_differ() -> None:
    spec = BlobSpec("large.txt", "txt", seed=1, size_bytes=2 * BLOCK_BYTES + 5)
    blocks = list(spec.chunks())
    assert [len(block) for block in blocks] == [BLOCK_BYTES, BLOCK_BYTES, 5]
    assert blocks[0] != blocks[1]
