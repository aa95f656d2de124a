"""Auth rules 1 to 4: create events, the room ID, cited events, rooms that do not federate."""

from __future__ import annotations

import pytest

from minihs.events.event import Event, parse_event
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth import Allowed, Refused, authorise, check_auth_events
from tests.support.auth_rules import ALICE, BOB, CAROL, Pair, Trial, a_room, on, rule_case
from tests.support.events import RoomBuilder, resign


def create_of(room: RoomBuilder) -> Event:
    return room.timeline[0]


def alone(accepted: Event, refused: Event) -> Pair:
    return Pair(accepted=Trial(event=accepted, state={}), refused=Trial(event=refused, state={}))


@rule_case(refused_by="v12 1.1", allowed_by="v12 1.5")
def test_a_create_event_has_no_prev_events(version: RoomVersion) -> Pair:
    room = a_room(version)
    create = create_of(room)
    return alone(create, resign(create, prev_events=[room.timeline[1].event_id]))


@rule_case(refused_by="v12 1.2", since=12)
def test_a_create_event_has_no_room_id_since_v12(version: RoomVersion) -> Pair:
    create = create_of(a_room(version))
    return alone(create, resign(create, room_id="!room:hs1"))


@rule_case(refused_by="v11 1.2", until=11)
def test_a_room_id_is_of_the_creators_server_until_v11(version: RoomVersion) -> Pair:
    create = create_of(a_room(version))
    return alone(create, resign(create, room_id="!room:hs2"))


def test_a_room_id_without_a_server_is_of_no_creators_server() -> None:
    version = ROOM_VERSIONS["11"]
    create = resign(create_of(a_room(version)), room_id="!" + "x" * 43)
    assert authorise(create, {}, version) == Refused(
        "v11 1.2", "the room ID must be of the server of the sender"
    )


@rule_case(refused_by="v12 1.3")
def test_a_room_version_must_be_known(version: RoomVersion) -> Pair:
    create = create_of(a_room(version))
    return alone(create, resign(create, content={**create.content, "room_version": "99"}))


@pytest.mark.parametrize("room_version", [None, 12, ["12"], {"12": 12}, "", "12 "])
def test_a_room_version_of_another_shape_is_not_known(room_version: object) -> None:
    version = ROOM_VERSIONS["12"]
    create = create_of(a_room(version))
    verdict = authorise(resign(create, content={"room_version": room_version}), {}, version)
    assert isinstance(verdict, Refused)
    assert verdict.rule == "v12 1.3"


def test_a_create_event_need_not_say_its_room_version() -> None:
    version = ROOM_VERSIONS["12"]
    assert authorise(resign(create_of(a_room(version)), content={}), {}, version) == Allowed("v12 1.5")


@rule_case(refused_by="v12 1.4", since=12)
def test_additional_creators_are_user_ids_since_v12(version: RoomVersion) -> Pair:
    create = create_of(a_room(version))
    return alone(
        resign(create, content={**create.content, "additional_creators": [BOB, "@:hs3"]}),
        resign(create, content={**create.content, "additional_creators": [BOB, "carol"]}),
    )


@pytest.mark.parametrize("creators", [None, BOB, {BOB: 1}, [1], [[BOB]], ["@x:" + "y" * 260]])
def test_additional_creators_of_another_shape_are_refused(creators: object) -> None:
    version = ROOM_VERSIONS["12"]
    create = create_of(a_room(version))
    verdict = authorise(resign(create, content={"additional_creators": creators}), {}, version)
    assert isinstance(verdict, Refused)
    assert verdict.rule == "v12 1.4"


def test_additional_creators_mean_nothing_before_v12() -> None:
    version = ROOM_VERSIONS["11"]
    create = create_of(a_room(version))
    assert authorise(resign(create, content={"additional_creators": "all"}), {}, version) == Allowed(
        "v12 1.5"
    )


@rule_case(refused_by="v10 1.4", until=10)
def test_a_create_event_names_its_creator_until_v10(version: RoomVersion) -> Pair:
    create = create_of(a_room(version))
    content = {name: value for name, value in create.content.items() if name != "creator"}
    return alone(create, resign(create, content=content))


def test_a_create_event_need_not_name_its_creator_since_v11() -> None:
    version = ROOM_VERSIONS["11"]
    create = create_of(a_room(version))
    assert "creator" not in create.content
    assert authorise(create, {}, version) == Allowed("v12 1.5")


@rule_case(refused_by="v12 2", allowed_by="v12 11", since=12)
def test_a_room_id_is_that_of_its_create_event_since_v12(version: RoomVersion) -> Pair:
    room, other = a_room(version), a_room(version, ban=51)
    other_create = resign(create_of(other), content={"room_version": "12", "type": "m.space"})
    message = room.message(CAROL)
    state = dict(room.state)
    return Pair(
        accepted=Trial(event=message, state=state),
        refused=Trial(event=message, state={**state, other_create.key: other_create}),
    )


@rule_case(refused_by="v11 2.4", until=11)
def test_a_state_has_a_create_event_until_v11(version: RoomVersion) -> Pair:
    room = a_room(version)
    message = room.message(CAROL)
    without = {key: event for key, event in room.state.items() if event is not create_of(room)}
    return Pair(accepted=Trial(event=message, state=room.state), refused=Trial(event=message, state=without))


def citing(room: RoomBuilder, good: list[Event], bad: list[Event]) -> Pair:
    event = room.message(CAROL)
    return Pair(accepted=Trial(event=event, cited=good), refused=Trial(event=event, cited=bad))


def cited_by(room: RoomBuilder, event: Event) -> list[Event]:
    return [room.events[event_id] for event_id in event.auth_events]


@rule_case(refused_by="v12 3.1", allowed_by="v12 3")
def test_auth_events_have_no_duplicates(version: RoomVersion) -> Pair:
    room = a_room(version)
    good = cited_by(room, room.message(CAROL))
    again = room.join(CAROL)
    return citing(room, good, [*good, again])


@rule_case(refused_by="v12 3.2")
def test_auth_events_are_those_that_the_selection_names(version: RoomVersion) -> Pair:
    room = a_room(version)
    good = cited_by(room, room.message(CAROL))
    return citing(room, good, [*good, room.state["m.room.join_rules", ""]])


def test_an_auth_event_is_a_state_event() -> None:
    version = ROOM_VERSIONS["12"]
    room = a_room(version)
    message = room.message(CAROL)
    verdict = check_auth_events(message, [*cited_by(room, message), message], version)
    assert isinstance(verdict, Refused)
    assert verdict.rule == "v12 3.2"


def test_citing_the_create_event_is_refused_since_v12_and_demanded_before() -> None:
    for version_id, with_create, without_create in (("11", None, "v11 2.4"), ("12", "v12 3.2", None)):
        version = ROOM_VERSIONS[version_id]
        room = a_room(version)
        message = room.message(CAROL)
        others = [event for event in cited_by(room, message) if event.type != "m.room.create"]
        for cited, rule in (([create_of(room), *others], with_create), (others, without_create)):
            verdict = check_auth_events(message, cited, version)
            assert (verdict.rule if isinstance(verdict, Refused) else None) == rule


@rule_case(refused_by="v12 3.3")
def test_auth_events_were_not_rejected(version: RoomVersion) -> Pair:
    room = a_room(version)
    message = room.message(CAROL)
    cited = cited_by(room, message)
    rejected = frozenset({cited[-1].event_id})
    return Pair(
        accepted=Trial(event=message, cited=cited),
        refused=Trial(event=message, cited=cited, rejected=rejected),
    )


@rule_case(refused_by="v11 2.4", until=11)
def test_auth_events_include_the_create_event_until_v11(version: RoomVersion) -> Pair:
    room = a_room(version)
    good = cited_by(room, room.message(CAROL))
    return citing(room, good, [event for event in good if event.type != "m.room.create"])


@rule_case(refused_by="v12 3.4")
def test_auth_events_are_of_the_same_room(version: RoomVersion) -> Pair:
    room = a_room(version)
    good = cited_by(room, room.message(CAROL))
    foreign = resign(room.state["m.room.member", CAROL], room_id="!other:hs1")
    return citing(room, good, [foreign if event.key == foreign.key else event for event in good])


def test_what_a_create_event_cites_does_not_matter() -> None:
    version = ROOM_VERSIONS["12"]
    room = a_room(version)
    create = resign(create_of(room), auth_events=[room.timeline[1].event_id])
    assert check_auth_events(create, [room.timeline[1]], version) == Allowed("v12 1.5")


@rule_case(refused_by="v12 4", allowed_by="v12 11")
def test_a_room_closed_to_other_servers_refuses_their_users(version: RoomVersion) -> Pair:
    room = RoomBuilder.create(ALICE, version=version.id, content={"m.federate": False})
    room.join(BOB)
    room.join(CAROL)
    content = {"msgtype": "m.text", "body": "hello"}
    return on(room, room.make(CAROL, "m.room.message", content), room.make(BOB, "m.room.message", content))


@pytest.mark.parametrize("federate", [True, None, 0, "false"])
def test_only_false_closes_a_room_to_other_servers(federate: object) -> None:
    room = RoomBuilder.create(ALICE, content={"m.federate": federate})
    assert authorise(room.join(BOB), room.state, room.version) == Allowed("v12 5.3.6")


def test_a_create_event_with_a_room_id_parses_so_that_the_rule_can_refuse_it() -> None:
    version = ROOM_VERSIONS["12"]
    create = resign(create_of(a_room(version)), room_id="!room:hs1")
    parsed = parse_event(dict(create.pdu), version)
    assert parsed.room_id == "!room:hs1"
    assert isinstance(authorise(parsed, {}, version), Refused)
