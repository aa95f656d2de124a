"""A server that comes late to a room of ours and Synapse's, while the one that made the room is away.

It has to take other servers' word for what was said and for the keys with which it was signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.interop.conftest import Pair
from tests.support.peers import assert_same_state
from tests.support.processes import QUICK_RETRIES, AnyServer, until

pytestmark = [pytest.mark.process, pytest.mark.full]

_numbers = count(1)


@pytest.fixture(params=["minihs", "synapse"])
def newcomer(request: pytest.FixtureRequest, pair: Pair) -> Iterator[tuple[AnyServer, AnyServer]]:
    """A server that has not been started, and the running one of the other kind that is its notary."""
    if request.param == "minihs":
        notary: AnyServer = pair.synapse
        settings = [*QUICK_RETRIES, f'federation.notaries=["{notary.server_name}"]']
        server: AnyServer = pair.stage.minihs(f"newcomer-{next(_numbers)}", settings)
    else:
        notary = pair.minihs
        trusted = [{"server_name": notary.server_name}]
        server = pair.stage.synapse(f"newcomer-{next(_numbers)}", {"trusted_key_servers": trusted})
    yield server, notary
    server.stop()


def test_a_newcomer_joins_by_a_third_server_while_the_rooms_own_is_away(
    pair: Pair, newcomer: tuple[AnyServer, AnyServer]
) -> None:
    late, notary = newcomer
    origin = pair.stage.minihs(f"origin-{next(_numbers)}")
    origin.start()
    host, middle = pair.cast.user(origin, "host"), pair.cast.user(notary, "middle")
    room_id = host.create("12", name="A room", topic="Where everybody is away")
    middle.join(room_id, via=origin.server_name)
    said = [host.send(room_id, f"said before {number}") for number in range(3)]
    middle.sees(said[-1])
    assert middle.messages(room_id)[-1]["type"] == "m.room.create"  # its server has the whole history now
    origin.stop()

    late.start()
    guest = pair.cast.user(late, "guest")
    guest.join(room_id, via=notary.server_name)
    middle.sees_membership(guest, room_id, "join")
    assert_same_state(room_id, middle, guest)
    read = [event["event_id"] for event in guest.messages(room_id) if event["type"] == "m.room.message"]
    assert read == said[::-1]

    origin.start()
    # A sign of life: on its own, Synapse looks for servers that were away only once a minute.
    host.send(room_id, "back again")
    until(lambda: host.membership_of(guest, room_id) == "join", "the guest, where the room was made")
    for sender in (host, middle, guest):
        event_id = sender.send(room_id, f"all three: {sender.user_id}")
        for reader in (host, middle, guest):
            reader.sees(event_id)
    assert_same_state(room_id, host, middle, guest)
    origin.stop()
