"""The allow-list of specification §1 and rule 14."""

from urllib.parse import unquote, urlsplit

import pytest
import yarl
from hypothesis import example, given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.urls import AllowList, origin
from tests.unit.rules.builders import ALLOW, fault

ALLOWED = {("https", "good.example", 443), ("http", "127.0.0.1", 10_000)}


def refused(url: str) -> str:
    return fault(FailureCode.SOURCE_NOT_ALLOWED, lambda: ALLOW.permit(url))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("good.example", ("https", "good.example", 443)),
        (" GOOD.Example ", ("https", "good.example", 443)),
        ("good.example:8443", ("https", "good.example", 8443)),
        ("https://good.example", ("https", "good.example", 443)),
        ("https://good.example:443", ("https", "good.example", 443)),
        ("HTTPS://good.example:8443", ("https", "good.example", 8443)),
        ("http://127.0.0.1:10000", ("http", "127.0.0.1", 10_000)),
        ("http://localhost", ("http", "localhost", 80)),
        ("bücher.example", ("https", "xn--bcher-kva.example", 443)),
        ("http://[::1]:10000", ("http", "::1", 10_000)),
    ],
)
def test_an_allow_list_entry_is_an_origin(entry: str, expected: tuple[str, str, int]) -> None:
    assert AllowList.from_hosts([entry]).origins == {expected}


def test_all_allow_list_entries_are_used() -> None:
    assert ALLOW.origins == ALLOWED


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("secret@good.example", "user name or password"),
        ("https://u:secret@good.example", "user name or password"),
        ("good.example/secret", "path"),
        ("https://good.example/", "path"),
        ("https://good.example?secret", "query"),
        ("https://good.example?", "query"),
        ("https://good.example#secret", "form"),
        ("ftp://good.example", "scheme"),
        ("://good.example", "form"),
        ("https://", "host"),
        ("https://good.example:secret", "host"),
        ("https://good.example:0", "port"),
        ("https://good.example:65536", "port"),
        ("good example", "host"),
        ("good..example", "host"),
        ("*.example", "host"),
        ("good.example\\secret", "backslash"),
        ("good\x00example", "control"),
        ("http://[::zz]", "host"),
    ],
)
def test_an_invalid_entry_is_reported_by_position_and_never_quoted(entry: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as raised:
        AllowList.from_hosts(["good.example", entry])
    assert "source host 2" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_an_empty_allow_list_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        AllowList.from_hosts([])


@pytest.mark.parametrize(
    ("url", "fetched"),
    [
        ("https://good.example/c/a.docx", "https://good.example/c/a.docx"),
        ("  https://good.example/c/a.docx ", "https://good.example/c/a.docx"),
        ("HTTPS://GOOD.Example/C/A.docx", "https://good.example/C/A.docx"),
        ("https://good.example:443/a", "https://good.example/a"),
        ("https://good.example:/a", "https://good.example/a"),
        ("http://127.0.0.1:10000/a", "http://127.0.0.1:10000/a"),
        ("https://good.example", "https://good.example/"),
        ("https://good.example/a b,c.docx", "https://good.example/a%20b,c.docx"),
        ("https://good.example/é/😀", "https://good.example/%C3%A9/%F0%9F%98%80"),
        ("https://good.example/a%20b%2fc%C3", "https://good.example/a%20b%2fc%C3"),
        ("https://good.example/100%/5%zz", "https://good.example/100%25/5%25zz"),
        ("https://good.example/C# [1].docx", "https://good.example/C%23%20%5B1%5D.docx"),
        ("https://good.example/a@b:c", "https://good.example/a@b:c"),
        ("https://good.example//evil.test/a", "https://good.example//evil.test/a"),
        ("https://good.example/../a/./b", "https://good.example/../a/./b"),
        ("https://ｇood.example/a", "https://good.example/a"),
    ],
)
def test_a_permitted_url_is_fetched_unchanged(url: str, fetched: str) -> None:
    assert str(ALLOW.permit(url)) == fetched


@pytest.mark.parametrize(
    "query",
    [
        "sv=2024-11-04&se=2025-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=a%2Bb%2fc%3D",
        "sig=a+b/c=",
        "b=2&a=1&b=3",
        "x=%zz&y=100%",
        "a=%41%7e~",
        "q=[1]{2}|\"<>'`^;,:@!$*()?/",
        "=&&=",
    ],
)
def test_a_query_survives_byte_for_byte(query: str) -> None:
    url = ALLOW.permit(f"https://good.example/c/a.docx?{query}")
    assert url.raw_path_qs == f"/c/a.docx?{query}"
    assert str(url) == f"https://good.example/c/a.docx?{query}"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#\\")))
def test_any_printable_query_survives_byte_for_byte(query: str) -> None:
    url = ALLOW.permit(f"https://good.example/a?{query}")
    assert url.raw_path_qs == (f"/a?{query}" if query else "/a")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="?%\\")))
def test_any_path_keeps_its_meaning_when_percent_encoded(path: str) -> None:
    url = ALLOW.permit(f"https://good.example/{path}x")
    assert url.raw_path.isascii()
    assert unquote(url.raw_path) == f"/{path}x"


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example.evil.test/a",
        "https://evil.test/good.example",
        "https://evil.test/?https://good.example/",
        "https://evil.test#https://good.example/",
        "https://good.example@evil.test/",
        "https://good.example:443@evil.test/",
        "https://user@good.example/",
        "https://user:pass@good.example/",
        "https://@good.example/",
        "https://good.example\\@evil.test/",
        "https://evil.test\\@good.example/",
        "https://good.example\\.evil.test/",
        "https://good.example/a\\b",
        "https://good.example/a?b\\c",
        "https://good.example#@evil.test/",
        "https://good.example./a",
        "https://.good.example/a",
        "https://xgood.example/a",
        "https://good.example:8443/a",
        "https://good.example:80/a",
        "http://good.example/a",
        "http://good.example:443/a",
        "https://127.0.0.1:10000/a",
        "http://127.0.0.1/a",
        "http://127.1:10000/a",
        "http://2130706433:10000/a",
        "https://good.example:99999/a",
        "https://good.example:000443/a",
        "https://good.example:٤٤٣/a",
        "https://good.example:-1/a",
        "https://good.example:443:443/a",
        "https://good.example%2eevil.test/",
        "https://good%2eexample/",
        "https://good.example%00.evil.test/",
        "https://good .example/a",
        "https://good.example\u2100/a",
        "https://good.example\uff0fevil.test/",
        "https://good.exаmple/a",
        "https://[good.example]/a",
        "https://[::1]/a",
        "https:///good.example/a",
        "https:/good.example/a",
        "https:good.example/a",
        "//good.example/a",
        "good.example/a",
        "ftp://good.example/a",
        "file:///etc/passwd",
        "javascript://good.example/%0aalert(1)",
        "https://good.example/a\tb",
        "ht\ntps://good.example/a",
        "https://good.example/a\r\nHost: evil.test",
        "https://good.example/\x00",
        "https://good.example/\x7f",
        "https://good.example/\x85x",
        "https://good.example/\ud800",
        "https://\ud800/",
        f"https://{'é' * 5000}/",
        "x https://good.example/a",
        "",
        "not a url",
    ],
)
def test_a_url_off_the_allow_list_is_refused(url: str) -> None:
    refused(url)


def test_a_host_of_any_length_is_refused_without_idna_conversion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # IDNA takes a quarter of a second for a host of 100,000 letters.
    monkeypatch.setattr("rogo_async.common.urls.URL", None)
    refused(f"https://{'é' * 300}.example/")


def test_the_message_has_scheme_host_and_port_only() -> None:
    message = refused("HTTP://Evil.test:8080/secret/path?secret=query#secret")
    assert "http://evil.test:8080" in message
    assert "secret" not in message
    assert "https://evil.test:443" in refused("https://evil.test/x")
    assert "secret" not in refused("https://secret:secret@good.example/")
    assert "secret" not in refused("secret:secret@good.example/")
    assert "secret" not in refused("https://good.example/secret\\")
    assert "not valid Unicode" in refused("https://good.example/\ud800")
    assert "ftp" in refused("ftp://good.example/secret")
    assert len(refused(f"https://{'a' * 300}/")) < 300


HOSTS = st.sampled_from(
    ["good.example", "GOOD.example", "evil.test", "127.0.0.1", "ｇood.example", "good.example."]
)
JUNK = st.text("@:/\\?#.%[]\t \x00aé。／", max_size=4)
URLS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["https://", "http://", "HTTPS:", "//", "ftp://", "https:///"]),
        JUNK,
        HOSTS,
        st.sampled_from(["", ":443", ":10000", ":"]),
        JUNK,
        st.sampled_from(["", "@", "/", "\\", "?", "#"]),
        HOSTS,
        JUNK,
    ),
)


@given(URLS | st.text() | st.text().map("https://good.example".__add__))
@example("https://good.example/" + "a" * 100_000)
def test_any_permitted_url_leads_to_an_allowed_host(text: str) -> None:
    try:
        url = ALLOW.permit(text)
    except RowError as raised:
        assert raised.code is FailureCode.SOURCE_NOT_ALLOWED
        return
    assert origin(url) in ALLOWED
    assert url.user is None
    assert url.password is None
    again = yarl.URL(str(url))
    assert (again.scheme, again.raw_host, again.port) in ALLOWED
    parts = urlsplit(str(url))
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    assert (parts.scheme, parts.hostname, port) in ALLOWED
    assert parts.username is None
    assert parts.fragment == ""
    assert str(url).isascii()
    assert str(url).isprintable()
    assert " " not in str(url)


@given(st.text())
def test_any_entry_is_an_origin_or_a_value_error(entry: str) -> None:
    try:
        origins = AllowList.from_hosts([entry]).origins
    except ValueError:
        return
    ((scheme, host, port),) = origins
    assert scheme in {"http", "https"}
    assert host.isascii()
    assert host == host.lower()
    assert 0 < port < 65_536
    bracketed = f"[{host}]" if ":" in host else host
    assert AllowList(origins).permit(f"{scheme}://{bracketed}:{port}/a").raw_host == host


def test_an_ipv6_host_is_parsed() -> None:
    allow = AllowList.from_hosts(["http://[::1]:10000"])
    assert str(allow.permit("http://[0:0::1]:10000/a")) == "http://[::1]:10000/a"
    message = fault(FailureCode.SOURCE_NOT_ALLOWED, lambda: allow.permit("http://[::2]:10000/a"))
    assert "http://[::2]:10000" in message


def test_origin_comes_from_the_parsed_url() -> None:
    assert origin(yarl.URL("https://Good.example/a?b")) == ("https", "good.example", 443)
    assert origin(yarl.URL("http://h:81/")) == ("http", "h", 81)
