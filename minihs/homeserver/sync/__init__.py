"""`/sync`: what is new for a user since a token. Source: Client-Server API, "Syncing" and `GET /sync`."""

from __future__ import annotations

from minihs.homeserver.sync.feed import SyncFeed
from minihs.homeserver.sync.model import SyncPart, SyncRequest
from minihs.homeserver.sync.service import Sync

__all__ = ["Sync", "SyncFeed", "SyncPart", "SyncRequest"]
