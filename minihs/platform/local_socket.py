"""A UNIX-domain socket in a private folder: whoever may open the file may speak. No token, no network.

The length of such an address is limited to some hundred bytes, that of a folder's path is not.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory

MAX_ADDRESS_BYTES = 100
"""Linux takes 107, the BSDs 103."""
OWNER_ONLY = 0o600


class LocalPort:
    """A listener at a path. `stop` removes the file."""

    def __init__(self, reactor: Any, factory: IProtocolFactory, path: Path) -> None:
        """Listen. What a process that was killed left at `path` is replaced, so the folder must be locked.

        OSError or Twisted's CannotListenError when that cannot be.
        """
        path.unlink(missing_ok=True)
        self._address = _Address(path)
        try:
            self._port = reactor.listenUNIX(self._address.name, factory, mode=OWNER_ONLY)
        except BaseException:
            self._address.close()
            raise

    def stop(self) -> Deferred[None]:
        """Take no more connections."""
        stopping: Deferred[Any] = maybeDeferred(self._port.stopListening)
        return stopping.addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        self._address.close()
        return result


def connect_locally(path: Path, timeout_s: float) -> socket.socket:
    """A blocking connection to the listener at `path`; OSError when nobody is there."""
    address = _Address(path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(address.name)
    except BaseException:
        connection.close()
        raise
    finally:
        address.close()
    return connection


class _Address:
    """A name for the path that is short enough; `close` when it is no longer needed."""

    def __init__(self, path: Path) -> None:
        self._folder: int | None = None
        self.name = str(path.absolute())
        if len(os.fsencode(self.name)) > MAX_ADDRESS_BYTES:
            # Linux' way to say "in this open folder".
            self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.name = f"/proc/self/fd/{self._folder}/{path.name}"

    def close(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
