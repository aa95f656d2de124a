"""Signing keys: a server that changes its key is believed with the new one, and for what the old signed."""

from __future__ import annotations

from itertools import count

import pytest

from tests.interop.conftest import Pair, either_side
from tests.support.peers import bodies

pytestmark = [pytest.mark.process, pytest.mark.full]

_numbers = count(1)


@either_side
def test_a_server_with_a_new_key_is_believed_and_so_is_its_past(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
    guest.sees(host.send(room_id, "signed with the old key"))
    server = pair.server(side)
    server.stop()
    server.rotate_key()
    server.start()
    guest.sees(host.send(room_id, "signed with the new key"))

    # Somebody who has never heard of the old key reads what it signed.
    newcomer = pair.cast.user(pair.start(pair.stage.minihs(f"late-{next(_numbers)}")), "newcomer")
    pair.joins(newcomer, room_id, guest)
    host.sees_membership(newcomer, room_id, "join")
    read = bodies(newcomer.messages(room_id))
    assert read == ["signed with the new key", "signed with the old key"]
    host.sees(newcomer.send(room_id, "welcome"))
