"""What the cells of addresses and of names say (specification §1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.rules.files import split_names, split_urls


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("", ()),
        ("  ", ()),
        ("https://h/a", ("https://h/a",)),
        (" https://h/a ", ("https://h/a",)),
        ("https://h/a,https://h/b", ("https://h/a", "https://h/b")),
        ("https://h/a , \n http://h/b", ("https://h/a", "http://h/b")),
        ("https://h/a,HTTPS://h/b", ("https://h/a", "HTTPS://h/b")),
        ("https://h/a, b,c.docx,https://h/d", ("https://h/a, b,c.docx", "https://h/d")),
        ("https://h/a,httpsx://h/b", ("https://h/a,httpsx://h/b",)),
        ("https://h/ahttps://h/b", ("https://h/ahttps://h/b",)),
        (",https://h/a", ("https://h/a",)),
        ("ftp://h/a", ("ftp://h/a",)),
        ("nonsense", ("nonsense",)),
    ],
)
def test_a_comma_separates_only_before_an_address(cell: str, urls: tuple[str, ...]) -> None:
    assert split_urls(cell) == urls


NAMES_WITH_COMMAS = st.text("ab, .%", min_size=1, max_size=8).map(lambda name: f"x{name}x")


@given(st.lists(NAMES_WITH_COMMAS, max_size=4))
def test_addresses_that_were_joined_come_apart_again(names: list[str]) -> None:
    urls = tuple(f"https://good.example/{name}" for name in names)
    assert split_urls(",".join(urls)) == urls


@pytest.mark.parametrize(
    ("cell", "urls", "names"),
    [
        ("a.docx", ("https://h/x/b.docx",), ("a.docx",)),
        ("a.docx, b.pdf ", ("https://h/1", "https://h/2"), ("a.docx", "b.pdf")),
        # the counts disagree
        ("a, b.docx", ("https://h/x/a%2C%20b.docx",), ("a, b.docx",)),
        ("a.docx", ("https://h/1.doc", "https://h/2.doc"), ("1.doc", "2.doc")),
        ("a,b,c", ("https://h/1.doc", "https://h/2.doc"), ("1.doc", "2.doc")),
        # a blank one of a list that agrees
        ("", ("https://h/x/b%20c.docx?sig=a/b",), ("b c.docx",)),
        ("a.docx,", ("https://h/1.doc", "https://h/2.doc"), ("a.docx", "2.doc")),
        # percent-decoding
        ("", ("https://h/caf%C3%A9,.docx",), ("café,.docx",)),
        ("", ("https://h/C# 1.docx",), ("C# 1.docx",)),
        ("", ("https://h/100%.docx",), ("100%.docx",)),
        ("", ("https://h/%ff.docx",), ("\ufffd.docx",)),
        # no name to be had
        ("", ("https://h",), ("file",)),
        ("", ("https://h?x=/y.docx",), ("file",)),
        ("", ("https://h/a/",), ("file",)),
        ("", ("https://h/%20",), ("file",)),
        ("", (), ()),
        ("a", (), ()),
    ],
)
def test_names_are_paired_when_the_counts_agree(
    cell: str, urls: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert split_names(cell, urls) == names


@given(st.text(), st.lists(st.text() | st.text("/?%#,.").map("https://h".__add__), max_size=4))
def test_every_address_has_a_name(cell: str, urls: list[str]) -> None:
    names = split_names(cell, urls)
    assert len(names) == len(urls)
    assert all(name.strip() for name in names)
