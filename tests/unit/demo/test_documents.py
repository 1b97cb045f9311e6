"""Generated source files have the requested size, and their seed determines their bytes."""

import hashlib
from dataclasses import replace

import pytest

from rogo_async.demo.dataset.documents import CHUNK_BYTES, BlobSpec

ESSAY = BlobSpec("essay.docx", "docx", seed=3, size_bytes=5_000)


@pytest.mark.parametrize("size_bytes", [0, 1, 2_049, 300_001, CHUNK_BYTES])
def test_a_file_has_exactly_the_requested_size(size_bytes: int) -> None:
    assert len(replace(ESSAY, size_bytes=size_bytes).body()) == size_bytes


def test_the_seed_determines_the_bytes() -> None:
    assert ESSAY.body() == replace(ESSAY, path="other.docx").body()
    assert ESSAY.body() != replace(ESSAY, seed=4).body()


def test_the_md5_is_that_of_the_bytes() -> None:
    assert ESSAY.md5() == hashlib.md5(ESSAY.body(), usedforsecurity=False).digest()


def test_a_large_file_has_several_chunks_that_differ() -> None:
    spec = replace(ESSAY, size_bytes=2 * CHUNK_BYTES + 5)
    chunks = list(spec.chunks())
    assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES, CHUNK_BYTES, 5]
    assert chunks[0] != chunks[1]
    assert b"".join(chunks) == spec.body()
