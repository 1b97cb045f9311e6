"""Which hosts the service is asked to copy from (rule 14)."""

from typing import Any, cast

import pytest

from rogo_async.common.entra import AccessTokens
from rogo_async.common.errors import Dependency
from rogo_async.common.proxies import DIRECT
from rogo_async.common.urls import AllowList, Origin
from rogo_async.destination.blobs.service_copy import CopyDeclined
from rogo_async.pipeline.server_side_copy import require_candidate
from rogo_async.rules.records import Route
from rogo_async.sources.host_access import HostAccess, IdentityAccess, SasAccess
from rogo_async.sources.http_files import SourceHost

NOTHING = cast("Any", None)
AZURE: Origin = ("https", "rogofiles.blob.core.windows.net", 443)
CHINA: Origin = ("https", "rogofiles.blob.core.chinacloudapi.cn", 443)
OTHER: Origin = ("https", "files.example", 443)
PLAIN: Origin = ("http", "127.0.0.1", 10_000)
SAS = SasAccess("sv=1&sig=2")
IDENTITY = IdentityAccess(AccessTokens(Dependency.SOURCE, "scope", DIRECT, None))


@pytest.mark.parametrize(
    ("place", "destination", "access", "route"),
    [
        (AZURE, CHINA, SAS, None),
        (CHINA, PLAIN, SAS, None),
        (PLAIN, PLAIN, SAS, None),
        (OTHER, OTHER, IDENTITY, None),
        (AZURE, CHINA, IDENTITY, None),
        (OTHER, AZURE, SAS, Route.NOT_AZURE),
        (("https", "blob.core.windows.net.evil.example", 443), AZURE, SAS, Route.NOT_AZURE),
        (AZURE, PLAIN, IDENTITY, Route.NOT_HTTPS),
    ],
)
def test_rule_14_the_service_copies_from_azure_and_gets_tokens_over_https(
    place: Origin, destination: Origin, access: HostAccess, route: Route | None
) -> None:
    host = SourceHost(place, NOTHING, AllowList(frozenset()), access, lambda _probe, _name: NOTHING)
    found = None
    try:
        require_candidate(host, place, destination)
    except CopyDeclined as declined:
        found = declined.route
    assert found is route
