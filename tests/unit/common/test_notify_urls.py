"""ROGO_NOTIFY_URL (specification §4)."""

import pytest

from rogo_async.common.notify_urls import NotifyKind, parse_notify_urls

TOKEN = "t0ken-canary"


def test_each_url_has_the_kind_of_its_prefix() -> None:
    found = parse_notify_urls(
        f" healthchecks+https://hc-ping.com/{TOKEN}\tkuma+http://kuma.example:3001/api/push/{TOKEN}"
        f"  json+https://hooks.example/{TOKEN}?sig=a%2Fb%2Bc "
    )
    assert [(each.kind, each.host) for each in found] == [
        (NotifyKind.HEALTHCHECKS, "hc-ping.com"),
        (NotifyKind.KUMA, "kuma.example"),
        (NotifyKind.JSON, "hooks.example"),
    ]
    assert found[2].url.query["sig"] == "a/b+c"
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        f"https://hc-ping.com/{TOKEN}",
        f"slack+https://hooks.example/{TOKEN}",
        f"json+https://hooks.example/a {TOKEN}",
        f"json+ftp://hooks.example/{TOKEN}",
        f"json+https:///{TOKEN}",
        f"json+https://hooks.example:port/{TOKEN}",
        f"json+{TOKEN}",
    ],
)
def test_a_url_of_no_known_kind_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="healthchecks\\+https") as caught:
        parse_notify_urls(text)
    assert TOKEN not in str(caught.value)
