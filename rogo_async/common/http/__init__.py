"""HTTP/1.1 for the bytes of files: as little work for each request as can be (docs/decisions/15).

Kept connections, one exchange at a time on each, no redirects, no cookies, no decompression. What
the two ends of a migration need and no more; the control plane goes through Azure's library.
"""

from rogo_async.common.http.client import Client
from rogo_async.common.http.exchange import Exchange

__all__ = ["Client", "Exchange"]
