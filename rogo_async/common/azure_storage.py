"""Constants of Azure Storage's REST API, for sources and destination."""

from typing import Final

API_VERSION: Final = "2021-12-02"
"""A request with a signature or an access token must name a version."""
IDENTITY_SCOPE: Final = "https://storage.azure.com/.default"
"""Of access tokens; the same in all clouds of Azure."""
BEARER: Final = "Bearer "
