"""The auth rules: may this event be in its room, given some state? Pure; no store, no network, no HTTP.

Read `walk` first; it follows the published list of room version 12 and calls one function per group of rules.
"""

from minihs.rooms.auth.needed import needed_state
from minihs.rooms.auth.verdict import Allowed, Refused
from minihs.rooms.auth.walk import authorise, check_auth_events

__all__ = ["Allowed", "Refused", "authorise", "check_auth_events", "needed_state"]
