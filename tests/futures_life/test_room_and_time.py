"""What becomes of a future, in each dialect, when its room, its state or the clocks change meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.futures_life.owners import U, asking, text
from tests.futures_life.ways import Scene, Way, each_way, scene
from tests.support.world import Client, World

__all__ = ["scene"]

HOUR_MS = 3_600_000


def last(user: Client, room_id: str) -> dict[str, Any]:
    """The newest event of a room."""
    return user.messages(room_id)[0]


# Time


@pytest.mark.parametrize("step_ms", [-HOUR_MS, HOUR_MS])
@each_way
def test_a_step_of_the_wall_clock_neither_fires_nor_stalls(way: Way, scene: Scene, step_ms: int) -> None:
    """Machines of a world do not sleep; those that do: `test_suspended_machine`."""
    way.schedule(scene.bob, scene.room_id, 5_000, text())
    began_ms = scene.world["hs1"].clock.wall_ms()
    scene.world["hs1"].set_clock(skew_ms=step_ms)
    scene.world.advance(4_900)
    assert scene.late() == []
    scene.world.advance(150)
    assert scene.late() == ["late"]
    sent_ts = last(scene.alice, scene.room_id)["origin_server_ts"]
    assert sent_ts - step_ms - began_ms == pytest.approx(5_000, abs=150)


@pytest.mark.parametrize("step_ms", [-HOUR_MS, HOUR_MS])
@each_way
def test_a_step_before_a_restart_does_not_count_as_time(way: Way, scene: Scene, step_ms: int) -> None:
    way.schedule(scene.bob, scene.room_id, 60_000, text())
    scene.world.advance(20_000)
    scene.world["hs1"].set_clock(skew_ms=step_ms)
    scene.world.advance(11_000)  # it is noted within ten seconds
    scene.world["hs1"].restart()
    scene.world.advance(28_500)
    assert scene.late() == []
    scene.world.advance(1_500)
    assert scene.late() == ["late"]


# State


@each_way
@pytest.mark.parametrize("by_another", [True, False])
def test_newer_state_and_the_timer_in_the_same_moment(way: Way, scene: Scene, by_another: bool) -> None:
    """The newer state gets its place before the timer is looked at: it wins where the dialect lets it."""
    way.schedule(scene.bob, scene.room_id, 1_000, {"by": "timer"}, type="m.call", state_key="k")
    scene.world.advance(985)
    path = f"/_matrix/client/v3/rooms/{quote(scene.room_id)}/state/m.call/k"
    newer = scene.alice if by_another else scene.bob
    waiting = newer.start("PUT", path, json={"by": "hand"})
    scene.world.advance(100)
    reply = waiting.take()
    assert reply is not None
    assert reply.status == 200
    newer_wins = way.cancelled_by == "anybody" or (way.cancelled_by == "others" and by_another)
    assert scene.state_of("m.call", "k") == {"by": "hand" if newer_wins else "timer"}
    assert set(scene.told()) == ({"M_CANCELLED_BY_STATE_UPDATE"} if newer_wins else {"sent"})


@each_way
def test_what_another_future_of_the_same_user_became_is_newer_state_too(way: Way, scene: Scene) -> None:
    slot = {"type": "m.call", "state_key": "k"}
    way.schedule(scene.bob, scene.room_id, 2_000, {"n": 1}, **slot)
    way.schedule(scene.bob, scene.room_id, 5_000, {"n": 2}, **slot)
    scene.world.advance(6_000)
    if way.cancelled_by != "anybody":
        assert scene.told() == ["sent", "sent"]
        assert scene.state_of("m.call", "k") == {"n": 2}
    elif way.name != "will-expire":
        assert scene.told() == ["sent", "M_CANCELLED_BY_STATE_UPDATE"]
        assert scene.state_of("m.call", "k") == {"n": 1}
    else:  # the second event itself is newer state, at once
        assert set(scene.told()[:-1]) == {"M_CANCELLED_BY_STATE_UPDATE"}
        assert scene.told()[-1] == "sent"
        assert scene.state_of("m.call", "k") == {"n": 2}


@each_way
def test_another_servers_newer_state_counts_like_our_own(way: Way, scene: Scene) -> None:
    carol = scene.world["hs2"].user("carol")
    carol.join(scene.room_id, "hs1")
    way.schedule(scene.bob, scene.room_id, 5_000, {"by": "timer"}, type="m.call", state_key="k")
    scene.world.advance(1_000)
    carol.set_state(scene.room_id, "m.call", {"by": "carol"}, "k")
    scene.world.advance(6_000)
    ended = way.cancelled_by != "nobody"
    assert scene.state_of("m.call", "k") == {"by": "carol" if ended else "timer"}
    assert set(scene.told()) == {"M_CANCELLED_BY_STATE_UPDATE" if ended else "sent"}


@pytest.mark.parametrize("ours_stays", [True, False])
@pytest.mark.parametrize("dialect", ["will-expire", "batch"])
def test_state_that_two_servers_set_at_once_ends_what_came_with_the_one_that_loses(
    dialect: str, ours_stays: bool
) -> None:
    """Of two events that know nothing of each other the later one stays: nothing may run out for the other,
    and something must for the one that is there."""
    world = World("hs1", "hs2")
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room(power_level_content_override={"state_default": 0})
    carol.join(room_id, "hs1")
    world.advance(1_000)
    world.partition(["hs1"], ["hs2"])

    def sets(by: Client, **what: Any) -> None:
        by.set_state(room_id, "m.call", {"by": by.name, **what}, "k")
        world.advance(1_000)

    def ours() -> None:
        if dialect == "will-expire":
            sets(alice, **{"m.will_expire": 600})
            return
        call = {"type": "m.call", "state_key": "k", "content": {"by": "alice"}}
        over = {"type": "m.call", "state_key": "k", "content": {"by": "alice", "over": True}}
        body = {"timeout": 600, "send_now": call, "send_on_timeout": over}
        alice.put(f"/rooms/{quote(room_id)}/send/future/{alice.txn()}", body)
        world.advance(1_000)

    if ours_stays:
        sets(carol)
        ours()
    else:
        ours()
        sets(carol)
    world.heal()
    world.advance(60_000)
    alice.send(room_id, "are you there?")
    carol.send(room_id, "yes")
    world.advance(60_000)
    for user in (alice, carol):
        assert user.state(room_id)["m.call", "k"]["content"]["by"] == ("alice" if ours_stays else "carol")
    world.advance(600_000)
    for user in (alice, carol):
        content = user.state(room_id)["m.call", "k"]["content"]
        over = content.get("over") or content.get("m.will_expire") == "expired"
        assert (content["by"], bool(over)) == (("alice", True) if ours_stays else ("carol", False))
    world.stop()


# The room


@each_way
def test_a_future_stays_in_the_room_that_was_upgraded(way: Way, scene: Scene) -> None:
    """Its sender may not speak there any more, where power levels say so; the old room is judged."""
    alice, bob = scene.alice, scene.bob
    room_id = alice.create_room(room_version="11")
    bob.join(room_id)
    for user in (alice, bob):
        way.schedule(user, room_id, 5_000, text(user.name))
    new_id = alice.post(f"/rooms/{quote(room_id)}/upgrade", {"new_version": "12"})["replacement_room"]
    bob.join(new_id)
    scene.world.advance(6_000)
    assert scene.late(room_id=room_id) == ["alice"]
    assert scene.late(room_id=new_id) == []
    assert scene.told(alice) == ["sent"]
    assert scene.told(bob) == ["M_FORBIDDEN"]


@each_way
def test_a_server_that_an_acl_excludes_sends_to_itself_alone(way: Way, scene: Scene) -> None:
    """An ACL is for those who receive: the excluded server's event is refused by the others."""
    carol = scene.world["hs2"].user("carol")
    room_id = carol.create_room()
    scene.alice.join(room_id, "hs2")
    way.schedule(scene.alice, room_id, 5_000, text())
    carol.set_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["hs1"]})
    scene.world.advance(10_000)
    assert scene.told(scene.alice) == ["sent"]
    assert scene.late(carol, room_id) == []


@each_way
def test_a_room_that_everybody_left_and_forgot(way: Way, scene: Scene) -> None:
    alice = scene.alice
    room_id = alice.create_room(preset="public_chat")
    way.schedule(alice, room_id, 5_000, text("nobody hears it"))
    if way.name != "will-expire":  # which cannot begin in a room that one is not in
        alice.leave(room_id)
        alice.post(f"/rooms/{quote(room_id)}/forget")
        way.schedule(alice, room_id, 8_000, text("who was there may be there again in time"))
        scene.world.advance(6_000)
        alice.join(room_id)
        scene.world.advance(3_000)
        assert scene.late(room_id=room_id) == ["who was there may be there again in time"]
        assert scene.told(alice) == ["M_FORBIDDEN", "sent"]
    else:
        alice.leave(room_id)
        alice.post(f"/rooms/{quote(room_id)}/forget")
        scene.world.advance(6_000)
        assert scene.told(alice) == ["M_FORBIDDEN"]


# What a future is


@each_way
def test_a_membership_change(way: Way, scene: Scene) -> None:
    ban = {"type": "m.room.member", "state_key": scene.bob.user_id}
    way.schedule(scene.alice, scene.room_id, 5_000, {"membership": "ban"}, **ban)
    at_once = way.name == "will-expire"
    assert scene.state_of(*ban.values())["membership"] == ("ban" if at_once else "join")
    scene.world.advance(6_000)
    assert scene.state_of(*ban.values())["membership"] == "ban"
    assert scene.told(scene.alice) == ["sent"]


@each_way
def test_the_leave_of_somebody_who_has_left(way: Way, scene: Scene) -> None:
    """Nobody leaves twice: the second is refused by the rules, or ended by the first."""
    leave = {"type": "m.room.member", "state_key": scene.bob.user_id}
    if way.name != "will-expire":
        way.schedule(scene.bob, scene.room_id, 5_000, {"membership": "leave"}, **leave)
        scene.bob.leave(scene.room_id)
    else:
        way.schedule(scene.bob, scene.room_id, 5_000, {"membership": "leave"}, **leave)
    scene.world.advance(6_000)
    assert scene.state_of(*leave.values())["membership"] == "leave"
    ended = way.cancelled_by == "anybody" and way.name != "will-expire"
    assert set(scene.told()) == {"M_CANCELLED_BY_STATE_UPDATE" if ended else "M_FORBIDDEN"}


@each_way
@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_a_redaction_is_sent_in_the_form_of_the_rooms_version(way: Way, scene: Scene, version: str) -> None:
    alice, carol = scene.alice, scene.world["hs2"].user("carol")
    room_id = alice.create_room(room_version=version)
    carol.join(room_id, "hs1")
    target = alice.send(room_id, "regretted")
    content = {"redacts": target, "reason": "r"}
    at_once = way.name == "will-expire"  # the redaction itself is; its copy redacts once more
    way.schedule(alice, room_id, 5_000, content, type="m.room.redaction")
    scene.world.advance(4_000)
    assert carol.bodies(room_id) == ([] if at_once else ["regretted"])
    scene.world.advance(3_000)
    assert alice.bodies(room_id) == carol.bodies(room_id) == []
    redactions = [e for e in carol.messages(room_id) if e["type"] == "m.room.redaction"]
    assert len(redactions) == (2 if at_once else 1)
    events = scene.world["hs1"].parts.room_service.events
    for redaction in redactions:
        event = scene.world.run(events.maybe_event(redaction["event_id"]))
        assert ("redacts" in event.pdu) is (version == "10")
        assert ("redacts" in event.content) is (version != "10")


@each_way
def test_a_power_level_change_with_power_that_is_gone(way: Way, scene: Scene) -> None:
    """Each dialect's own newer power levels end it where newer state does; else the rules decide."""
    alice, bob, world = scene.alice, scene.bob, scene.world
    room_id = alice.create_room(power_level_content_override={"events_default": 50})
    bob.join(room_id)
    alice.set_power(room_id, users={bob.user_id: 100})
    levels = bob.get(f"/rooms/{quote(room_id)}/state/m.room.power_levels/")
    change = {"type": "m.room.power_levels", "state_key": ""}
    way.schedule(bob, room_id, 2_000, {**levels, "invite": 77}, **change)
    world.advance(3_000)
    assert scene.told(bob) == ["sent"]
    assert alice.state(room_id)["m.room.power_levels", ""]["content"]["invite"] == 77
    way.schedule(bob, room_id, 2_000, {**levels, "invite": 99}, **change)
    alice.set_power(room_id, users={bob.user_id: 0}, invite=77)
    world.advance(3_000)
    assert alice.state(room_id)["m.room.power_levels", ""]["content"]["invite"] == 77
    ended = way.cancelled_by != "nobody"
    assert set(scene.told(bob)[1:]) == {"M_CANCELLED_BY_STATE_UPDATE" if ended else "M_FORBIDDEN"}


@each_way
def test_an_encrypted_event_is_sent_as_it_came(way: Way, scene: Scene) -> None:
    ciphertext = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEn", "session_id": "s"}
    way.schedule(scene.bob, scene.room_id, 1_000, ciphertext, type="m.room.encrypted")
    scene.world.advance(1_500)
    content = dict(last(scene.alice, scene.room_id)["content"])
    if way.name == "will-expire":
        assert content.pop("m.will_expire") == "expired", "beside the ciphertext, where servers can see it"
        assert content.pop("m.relates_to")["rel_type"] == "m.expire.relationship"
    assert content == ciphertext


@each_way
@pytest.mark.parametrize("own", [True, False])
def test_a_state_key_that_is_a_user_belongs_to_that_user(way: Way, scene: Scene, own: bool) -> None:
    call = {"type": "m.call", "state_key": scene.bob.user_id if own else scene.alice.user_id}
    if way.name == "will-expire" and not own:
        path = f"/rooms/{quote(scene.room_id)}/state/m.call/{quote(call['state_key'])}"
        refused = scene.bob.request("PUT", path, json={"m.will_expire": 1})
        assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
        assert "auth rule v12 9" in refused.json["error"]
        assert scene.told() == [], "nothing is scheduled beside an event that is refused"
        return
    future = way.schedule(scene.bob, scene.room_id, 1_000, {}, **call)
    if not own:
        refused = way.send(scene.bob, future)
        assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
        assert "auth rule v12 9" in refused.json["error"]
    scene.world.advance(1_500)
    assert scene.told() == (["sent"] if own else ["M_FORBIDDEN"])
    assert (("m.call", call["state_key"]) in scene.alice.state(scene.room_id)) is own


@each_way
@pytest.mark.parametrize("version", ["6", "10", "12"])
def test_the_time_of_sending_is_the_events_time_in_every_version(
    way: Way, scene: Scene, version: str
) -> None:
    """`?ts=` is for application services; a user's is not obeyed, in the request or in the content."""
    room_id = scene.alice.create_room(room_version=version)
    began_ms = scene.world["hs1"].clock.wall_ms()
    content = {**text(), "origin_server_ts": 1}
    way.schedule(scene.alice, room_id, 5_000, content, query={"ts": 1})
    scene.world.advance(6_000)
    event = last(scene.alice, room_id)
    assert event["content"]["origin_server_ts"] == 1, "what is in the content is the sender's affair"
    assert event["origin_server_ts"] - began_ms == pytest.approx(5_000, abs=50)


# What can be no event; the checks are those of all dialects (`test_hostile_values`)


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1")
    yield world
    world.stop()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"body": "x" * 66_000}, 413),
        ({"body": 1.5}, 400),
        ({"body": 2**53}, 400),
        ({"body": "x" * 60_000}, 200),
    ],
)
def test_what_can_be_no_event_is_refused_at_once(world: World, content: Any, status: int) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    assert asking(alice, room_id, 1_000, content).status == status
    world.advance(1_500)
    newest = alice.messages(room_id)[0]
    assert (newest["content"] == content) is (status == 200)


def test_what_becomes_too_large_in_its_room_fails_when_it_is_sent(world: World) -> None:
    """At scheduling the smallest event is measured; the real one has more parents and auth events."""
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    fits = 66_000
    while asking(alice, room_id, 1_000, {"body": "x" * fits}).status != 200:
        fits -= 10
    world.advance(1_500)
    listed = alice.get(f"{U}/delayed_events", query={"status": "finalised"})["finalised"]
    assert [one["error"]["errcode"] for one in listed] == ["M_TOO_LARGE"]
    assert alice.bodies(room_id) == []
