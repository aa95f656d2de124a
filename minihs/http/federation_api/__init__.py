"""The Server-Server API: one module for each chapter of the specification."""

from minihs.http.federation_api import (
    events,
    keys,
    membership,
    public_rooms,
    query,
    spaces,
    state,
    third_party_invites,
    transactions,
    user_devices,
    version,
)

__all__ = [
    "events",
    "keys",
    "membership",
    "public_rooms",
    "query",
    "spaces",
    "state",
    "third_party_invites",
    "transactions",
    "user_devices",
    "version",
]
