"""Keys of other servers: fetched when needed, not more often, and good for what they may be good for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from signedjson.sign import sign_json

from minihs.events.build import build_event
from minihs.events.event import Event, parse_event
from minihs.events.ids import RoomID, ServerName, UserID
from minihs.events.signatures import BadSignature
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.key_documents import KeysUnavailable
from minihs.federation.key_fetching import MAX_CONCURRENT
from minihs.federation.signing_keys import OldKey, SigningKeys, load_or_create, new_signing_keys, rotate
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.lab.memory_network import Link
from minihs.platform.entropy import SeededEntropy
from tests.support.deferreds import start
from tests.support.federation import Node, World

HS1, HS2, HS3 = ServerName("hs1.test"), ServerName("hs2.test"), ServerName("hs3.test")
DAY_MS = 86_400_000


class KeyWorld(World):
    """hs1 asks; hs2 signs; `fetches` counts how often hs2's keys were asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.one = self.node(HS1, **options)
        self.two = self.node(HS2)
        self.fetches = 0
        original = self.two.keyring.own_document

        def counted() -> dict[str, Any]:
            self.fetches += 1
            return original()

        self.two.keyring.own_document = counted  # type: ignore[method-assign]

    def event(self, *, version: str = "11", signer: Node | None = None, ts_offset_ms: int = 0) -> Event:
        """A message by a user of hs2, signed by hs2 or somebody else, `ts_offset_ms` from now."""
        author = (signer or self.two).keys.signer
        return build_event(
            version=ROOM_VERSIONS[version],
            signer=author,
            room_id=RoomID("!r:hs2.test"),
            type="m.room.message",
            sender=UserID("@bob:hs2.test"),
            content={"body": "hello"},
            state_key=None,
            origin_server_ts=self.clock.wall_ms() + ts_offset_ms,
            depth=1,
            prev_events=(),
            auth_events=(),
        )

    def verify(self, event: Event, by: Node | None = None) -> None:
        self.finish((by or self.one).keyring.verify_event(event))


def test_an_event_with_a_good_signature_is_accepted_and_its_keys_are_fetched_once() -> None:
    world = KeyWorld()
    world.verify(world.event())
    world.verify(world.event())
    assert world.fetches == 1


def test_keys_are_remembered_over_a_restart() -> None:
    world = KeyWorld()
    world.verify(world.event())
    again = Node(world.network, world.one.host, HS1, database=world.one.database, keys=world.one.keys)
    world.verify(world.event(), again)
    assert world.fetches == 1


def test_an_event_that_was_changed_after_signing_is_refused() -> None:
    world = KeyWorld()
    event = world.event()
    pdu = {**event.pdu, "origin_server_ts": event.origin_server_ts + 1}
    with pytest.raises(BadSignature, match="is wrong"):
        world.verify(parse_event(pdu, event.version))


def test_an_event_signed_by_another_server_only_is_refused_without_asking_anybody() -> None:
    world = KeyWorld()
    with pytest.raises(BadSignature, match=r"no signature by hs2\.test"):
        world.verify(world.event(signer=world.one))
    assert world.fetches == 0


def test_the_keys_of_a_server_that_is_away_are_unavailable() -> None:
    world = KeyWorld()
    world.network.crash(world.two.host.address)
    with pytest.raises(KeysUnavailable, match=r"no usable key of hs2\.test"):
        world.verify(world.event())


def test_unknown_key_ids_cannot_make_us_ask_in_a_loop() -> None:
    world = KeyWorld()
    world.verify(world.event())
    forger = SigningKeys((new_signing_keys(HS2, SeededEntropy("forger")).signer,), {})
    for _ in range(50):
        forged = sign_json({"a": 1}, HS2, forger.signer.key)
        with pytest.raises(KeysUnavailable):
            world.finish(
                world.one.keyring.verify_request(
                    HS2, forger.signer.key_id, b"{}", forged["signatures"][HS2][forger.signer.key_id]
                )
            )
        world.pass_time(100)
    assert 2 <= world.fetches <= 5


def rotated(world: KeyWorld) -> None:
    """hs2 signs with a new key from now on."""
    retired = world.two.keys
    ended = OldKey(retired.verify_keys()[retired.signer.key_id], world.clock.wall_ms())
    fresh = new_signing_keys(HS2, SeededEntropy("fresh"))
    world.two.keys = SigningKeys(fresh.signers, {retired.signer.key_id: ended})
    world.two.keyring._own = world.two.keys
    world.two.keyring._own_document = None


def test_a_new_key_is_found_as_soon_as_it_is_used() -> None:
    world = KeyWorld()
    before = world.event()
    world.verify(before)
    rotated(world)
    world.verify(world.event(ts_offset_ms=1))
    world.verify(before)
    assert world.fetches == 2


def test_an_old_key_is_good_only_for_what_it_signed_before_its_end() -> None:
    world = KeyWorld()
    before, after = world.event(ts_offset_ms=-1), world.event(ts_offset_ms=5_000)
    rotated(world)
    world.verify(before)
    with pytest.raises(KeysUnavailable):
        world.verify(after)


def test_askers_at_the_same_time_share_one_fetch() -> None:
    world = KeyWorld()
    events = [world.event() for _ in range(5)]

    async def all_of_them() -> Any:
        return await world.one.keyring.verify_events(events)

    verdicts = world.finish(all_of_them())
    assert set(verdicts.values()) == {None}
    assert world.fetches == 1


def test_a_batch_has_a_verdict_for_each_event() -> None:
    world = KeyWorld()
    good, bad = world.event(), world.event(signer=world.one, ts_offset_ms=1)
    verdicts = world.finish(world.one.keyring.verify_events([good, bad]))
    assert verdicts[good.event_id] is None
    assert isinstance(verdicts[bad.event_id], BadSignature)


@pytest.mark.parametrize(("offset_ms", "good"), [(DAY_MS - 5_000, True), (2 * DAY_MS, False)])
def test_a_signature_counts_only_while_the_key_was_valid(offset_ms: int, good: bool) -> None:
    world = KeyWorld()
    event = world.event(ts_offset_ms=offset_ms)
    if good:
        world.verify(event)
    else:
        with pytest.raises(KeysUnavailable):
            world.verify(event)


def test_before_room_version_5_the_validity_of_keys_is_ignored() -> None:
    world = KeyWorld()
    world.verify(world.event(version="4", ts_offset_ms=2 * DAY_MS))


def test_our_own_signatures_are_checked_without_asking_anybody() -> None:
    world = KeyWorld()
    world.verify(world.event(), world.two)
    assert world.fetches == 0


def test_an_old_key_is_not_good_for_requests() -> None:
    world = KeyWorld()
    retired = world.two.keys.signer
    fresh = new_signing_keys(HS2, SeededEntropy("fresh"))
    world.two.keyring._own = SigningKeys(
        fresh.signers, {retired.key_id: OldKey(world.two.keys.verify_keys()[retired.key_id], 1 << 50)}
    )
    for signer, good in ((fresh.signer, True), (retired, False)):
        keys = world.finish(
            world.one.keyring.verify_keys(
                HS2, (signer.key_id,), valid_at_ms=world.clock.wall_ms(), for_requests=True
            )
        )
        assert bool(keys) is good
    assert world.finish(world.one.keyring.verify_keys(HS2, (retired.key_id,), valid_at_ms=1))


def test_keys_come_from_a_notary_when_the_server_is_away() -> None:
    world = KeyWorld(notaries=[HS3])
    third = world.node(HS3)
    world.verify(world.event(), third)
    world.network.crash(world.two.host.address)
    world.verify(world.event())


def test_a_notary_cannot_make_keys_up() -> None:
    impostor = new_signing_keys(HS2, SeededEntropy("impostor"))

    async def lie(request: ApiRequest) -> dict[str, Any]:
        from minihs.federation.key_documents import own_document

        made_up = own_document(impostor, world.clock.wall_ms())
        made_up["verify_keys"] = {**made_up["verify_keys"], "ed25519:extra": {"key": "A" * 43}}
        return {"server_keys": [world.nodes[HS3].keys.signer.sign(made_up)]}

    world = KeyWorld(notaries=[HS3])
    route = Route(method="GET", path="/_matrix/key/v2/query/hs2.test", access=Access.OPEN, handler=lie)
    world.node(HS3, extra_routes=[route])
    world.network.crash(world.two.host.address)
    with pytest.raises(KeysUnavailable):
        world.verify(world.event())


def test_peers_follow_a_rotation_of_keys(tmp_path: Path) -> None:
    """The command `minihs keys rotate` and a restart: peers see the new key with its first use."""
    world = KeyWorld()
    folder, entropy = tmp_path, SeededEntropy("rotation")
    keys = load_or_create(folder, HS2, entropy)
    world.network.crash(world.two.host.address)
    world.two = restarted(world, keys)
    before = world.event()
    world.verify(before)
    world.pass_time(60_000)
    rotated = rotate(folder, HS2, entropy, world.clock.wall_ms())
    assert rotated.signer.key_id != keys.signer.key_id
    world.network.crash(world.two.host.address)
    world.two = restarted(world, rotated)
    world.verify(world.event())
    world.verify(before)
    # The old key signs nothing new, neither events nor requests.
    late = world.event(signer=Node(world.network, world.two.host, HS2, keys=keys), ts_offset_ms=1)
    third = world.node(HS3)
    with pytest.raises(KeysUnavailable):
        world.verify(late, third)
    world.verify(before, third)


def restarted(world: KeyWorld, keys: SigningKeys) -> Node:
    """hs2 as a new process with these keys."""
    node = Node(world.network, world.two.host, HS2, database=world.two.database, keys=keys)
    node.listen()
    return node


def test_made_up_servers_cannot_make_us_fetch_without_bound() -> None:
    world = KeyWorld()
    waiting = []
    for number in range(MAX_CONCURRENT * 3):
        name = f"made-up-{number}.test"
        silent = world.network.host(f"10.8.{number // 200}.{number % 200}", name)
        world.network.set_link(world.one.host.address, silent.address, Link.SILENT)
        waiting.append(start(world.one.keyring.verify_request(ServerName(name), "ed25519:1", b"x", "A" * 86)))
    world.pass_time(1_000)
    pending = [one for one in waiting if not one.called]
    assert len(pending) == MAX_CONCURRENT
    world.pass_time(60_000)
    assert all(one.called for one in waiting)
    for one in waiting:
        one.addErrback(lambda failure: failure.trap(KeysUnavailable))
    world.verify(world.event())
