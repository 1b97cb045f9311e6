"""Source files and the destination container: both planes of the blob store (DESIGN decision 5)."""

from rogo_async.blobs.account import Account
from rogo_async.blobs.inventory import Content, Inventory, Listed
from rogo_async.blobs.source import Sources, name_of
from rogo_async.blobs.stated import Stated
from rogo_async.blobs.store import MIGRATED_FROM, Blob, Store
from rogo_async.blobs.transfer import Mover

__all__ = [
    "MIGRATED_FROM",
    "Account",
    "Blob",
    "Content",
    "Inventory",
    "Listed",
    "Mover",
    "Sources",
    "Stated",
    "Store",
    "name_of",
]
