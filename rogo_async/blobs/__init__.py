"""Source files and the destination container: both planes of the blob store (DESIGN decision 5)."""

from rogo_async.blobs.account import Account
from rogo_async.blobs.source import Sources
from rogo_async.blobs.store import Store
from rogo_async.blobs.transfer import Mover

__all__ = ["Account", "Mover", "Sources", "Store"]
