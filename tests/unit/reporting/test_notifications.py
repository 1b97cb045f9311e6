"""The requests of each kind of receiver (specification §5)."""

import json

import pytest

from rogo_async.common.notify_urls import parse_notify_urls
from rogo_async.reporting.notifications import ping_of_end, ping_of_start

LINE = "rogo_async: 3 migrated, 1 failed (0 new); exit 1 & more…"
HEALTHCHECKS, KUMA, WEBHOOK = parse_notify_urls(
    "healthchecks+https://hc.example/key/slug?create=1 "
    "kuma+https://kuma.example/api/push/token?status=up&msg=OK&ping= "
    "json+https://hooks.example/a?sig=b%2Fc"
)


def test_only_a_check_with_a_duration_is_told_of_the_start() -> None:
    ping = ping_of_start(HEALTHCHECKS)
    assert ping is not None
    assert str(ping.url) == "https://hc.example/key/slug/start?create=1"
    assert ping_of_start(KUMA) is None
    assert ping_of_start(WEBHOOK) is None


@pytest.mark.parametrize(
    ("is_success", "path", "status"), [(True, "", "up"), (False, "/fail", "down")]
)
def test_the_end_has_the_summary_line(is_success: bool, path: str, status: str) -> None:
    ping = ping_of_end(HEALTHCHECKS, LINE, 2.5, is_success=is_success)
    assert str(ping.url) == f"https://hc.example/key/slug{path}?create=1"
    assert ping.body == LINE.encode()
    ping = ping_of_end(KUMA, LINE, 2.5, is_success=is_success)
    assert dict(ping.url.query) == {"status": status, "msg": LINE, "ping": "2500"}
    assert ping.body is None
    ping = ping_of_end(WEBHOOK, LINE, 2.5, is_success=is_success)
    assert ping.url == WEBHOOK.url
    assert ping.content_type == "application/json"
    assert json.loads(ping.body or b"") == {"text": LINE}


def test_a_long_text_is_cut_and_a_path_that_is_not_utf8_is_replaced() -> None:
    for receiver in (HEALTHCHECKS, WEBHOOK):
        body = ping_of_end(receiver, "\udcff" + "x" * 5_000, 1.0, is_success=False).body
        assert body is not None
        assert 1_000 <= len(body) < 1_100
    query = ping_of_end(KUMA, "\udcff" + "x" * 5_000, 1.0, is_success=False).url.query
    assert len(query["msg"]) == 1_000
