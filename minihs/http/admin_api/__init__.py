"""What the administrator's commands ask of a server, over the socket in its data directory.

No part of Matrix: `minihs users …` and its kin are the only clients. One module for each command.
"""

from minihs.http.admin_api import users

__all__ = ["users"]
