"""What administrators ask of a server over HTTP; no part of Matrix. One module for each command.

On the socket in the data directory, where `minihs users …` and its kin ask; futures also on the client
listener, for administrators with an access token.
"""

from minihs.http.admin_api import futures, rooms, users

__all__ = ["futures", "rooms", "users"]
