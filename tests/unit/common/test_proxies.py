"""HTTPS_PROXY, HTTP_PROXY and NO_PROXY: their forms, and which hosts are excepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from rogo_async.common.proxies import Proxies, is_excepted, parse_proxy, shown

PROXY = URL("http://user:secret@proxy.example:3128")


@pytest.mark.parametrize(
    "text",
    [
        "http://proxy:3128",
        "http://proxy",
        "https://proxy.example:8443/",
        "http://user:p%40ss@10.0.0.1:3128",
        "http://[::1]:3128",
    ],
)
def test_the_url_of_a_proxy(text: str) -> None:
    assert parse_proxy(text) == URL(text)


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("proxy:3128", "proxy:3128"),
        ("proxy", "proxy"),
        ("socks5://proxy:1080", "socks5://proxy:1080"),
        ("socks5://user:secret@proxy:1080", "socks5://proxy:1080"),
        ("http://proxy:port", "http://proxy:port"),
        ("http://proxy:99999", "http://proxy:99999"),
        ("http://proxy:0", "http://proxy:0"),
        ("http://", "http://"),
        ("user:secret@proxy:3128", "proxy:3128"),
        ("http://user:se/cret@proxy:3128", "http://proxy:3128"),
        ("http://user:se@cret@proxy:x", "http://proxy:x"),
        ("http://user:secret:proxy:3128", "http://…"),
        ("http://proxy:3128/secret", "http://proxy:3128"),
        ("http://proxy:3128?secret", "http://proxy:3128"),
        ("http:/proxy:3128", "…"),
    ],
)
def test_another_text_is_refused_without_its_password(text: str, shows: str) -> None:
    with pytest.raises(ValueError, match="is not the URL of a proxy: write http://") as error:
        parse_proxy(text)
    assert str(error.value).startswith(f"{shows} is not")
    assert "secret" not in str(error.value)


@given(st.text(max_size=40))
def test_any_text_is_a_proxy_or_refused(text: str) -> None:
    try:
        proxy = parse_proxy(text)
    except ValueError as error:
        assert "is not the URL of a proxy" in str(error)
    else:
        assert proxy.scheme in {"http", "https"}
        assert proxy.host


@pytest.mark.parametrize(
    ("host", "entry", "expected"),
    [
        ("files.example", "*", True),
        ("files.example", "files.example", True),
        ("files.example", "FILES.example", True),
        ("a.files.example", "files.example", True),
        ("a.files.example", ".files.example", True),
        ("files.example", ".files.example", True),
        ("a.files.example", "*.files.example", True),
        ("xfiles.example", "files.example", False),
        ("xfiles.example", ".files.example", False),
        ("files.example.org", "files.example", False),
        ("files.example:8080", "files.example:8080", True),
        ("files.example:8080", "files.example:443", False),
        ("files.example", "files.example:443", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3:8080", "10.1.2.3:8080", True),
        ("110.1.2.3", "10.1.2.3", False),
        ("[::1]", "::1", True),
        ("[fd00::1]:8080", "[fd00::1]:8080", True),
        ("[fd00::1]", "fd00::/8", True),
        ("files.example", "10.0.0.0/8", False),
        ("files.example", ".", False),
        ("localhost", "localhost", True),
        ("127.0.0.1", "localhost", False),
    ],
)
def test_hosts_that_are_excepted(host: str, entry: str, *, expected: bool) -> None:
    assert is_excepted(URL(f"https://{host}/f"), ["other.example", entry]) is expected


def test_the_route_to_a_server() -> None:
    proxies = Proxies(https=PROXY, direct=("internal.example",))
    assert proxies.proxy_for(URL("https://files.example/a")) == PROXY
    assert proxies.proxy_for(URL("http://files.example/a")) is None
    assert proxies.proxy_for(URL("https://internal.example/a")) is None
    assert proxies.route_to(URL("https://files.example")) == (
        "through the proxy http://proxy.example:3128 (HTTPS_PROXY)"
    )
    assert proxies.route_to(URL("https://internal.example")) == "directly (NO_PROXY)"
    assert proxies.route_to(URL("http://files.example")) == "directly"
    assert shown(PROXY) == "http://proxy.example:3128"
