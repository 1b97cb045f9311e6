"""The SAS inside a URL, and that of its host."""

from datetime import UTC, datetime

import pytest
from yarl import URL

from rogo_async.sources.signed_urls import expiry_text, has_signature, signed, without_signature

FILE = "https://rogofiles.example/files/a%2Cb.docx"
SAS = "sv=2021-12-02&st=2025-01-01&se=2025-02-01T00%3A00%3A00Z&sr=b&sp=r&sig=a%2Bb%3D"
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def url(text: str) -> URL:
    return URL(text, encoded=True)


@pytest.mark.parametrize(
    ("query", "has"),
    [("", False), ("?sig=x", True), ("?a=1&SIG=x", True), ("?design=1", False), ("?a=sig=", False)],
)
def test_a_signature_is_a_parameter_of_its_own(query: str, *, has: bool) -> None:
    assert has_signature(url(FILE + query)) is has


def test_the_token_is_added_to_a_url_without_signature() -> None:
    assert str(signed(url(FILE), "sig=t")) == f"{FILE}?sig=t"
    assert str(signed(url(f"{FILE}?snapshot=1"), "sig=t")) == f"{FILE}?snapshot=1&sig=t"
    assert signed(url(f"{FILE}?{SAS}"), "sig=t") == url(f"{FILE}?{SAS}")
    assert signed(url(FILE), None) == url(FILE)


def test_without_its_signature_a_url_keeps_its_other_parameters() -> None:
    assert str(without_signature(url(f"{FILE}?{SAS}"))) == FILE
    other = f"{FILE}?snapshot=2025-01-01T00%3A00%3A00Z&{SAS}&versionid=7"
    assert str(without_signature(url(other))) == (
        f"{FILE}?snapshot=2025-01-01T00%3A00%3A00Z&versionid=7"
    )


@pytest.mark.parametrize(
    ("se", "text"),
    [
        ("2025-02-01T00%3A00%3A00Z", " expired on 2025-02-01T00:00:00Z"),
        ("2025-02-01T00:00Z", " expired on 2025-02-01T00:00Z"),
        ("2025-02-01", " expired on 2025-02-01"),
        ("2099-01-01", ""),
        ("2025-99-01", ""),
        ("secret", ""),
        ("", ""),
    ],
)
def test_the_end_of_the_signature_is_named_and_nothing_else_of_it(se: str, text: str) -> None:
    assert expiry_text(url(f"{FILE}?se={se}&sig=secret"), NOW) == text
