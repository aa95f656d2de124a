"""Restricted rooms: who is let in, who vouches for them, and who is asked where nobody here can."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.errors import (
    Forbidden,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
)
from tests.support.rooms_world import ALICE, BOB, CAROL, RoomsWorld


@pytest.mark.parametrize("version", [name for name, row in ROOM_VERSIONS.items() if row.restricted_joins])
def test_members_of_an_allowed_room_join_a_restricted_one_and_a_local_user_vouches(version: str) -> None:
    world = RoomsWorld()
    club = world.public()
    room_id = world.restricted(club, room_version=version)
    with pytest.raises(Forbidden, match="in none of the rooms"):
        world.run(world.membership.join(BOB, room_id))
    world.run(world.membership.join(BOB, club))
    world.run(world.membership.join(BOB, room_id))
    content = world.state_content(room_id, "m.room.member", BOB)
    assert content == {"membership": "join", "join_authorised_via_users_server": ALICE}
    world.profiles[BOB] = {"displayname": "Bob"}
    world.run(world.actions.every_room.update_profile(BOB))
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "join", "displayname": "Bob"}


@pytest.mark.parametrize(("rule", "version"), [("restricted", "7"), ("knock_restricted", "9")])
def test_where_a_version_knows_no_such_join_rule_nobody_vouches(rule: str, version: str) -> None:
    world = RoomsWorld()
    club = world.public()
    world.run(world.membership.join(BOB, club))
    room_id = world.restricted(club, room_version=version, rule=rule)
    with pytest.raises(Forbidden) as refusal:
        world.run(world.membership.join(BOB, room_id))
    assert refusal.value.rule == "v12 5.3.7"
    newer = world.restricted(club, room_version=str(int(version) + 1), rule=rule)
    world.run(world.membership.join(BOB, newer))
    assert world.membership_of(newer, BOB) == "join"


def test_an_invite_opens_a_restricted_room_without_anybody_vouching() -> None:
    world = RoomsWorld()
    room_id = world.restricted("!elsewhere:hs3")
    world.run(world.membership.invite(ALICE, room_id, BOB))
    world.run(world.membership.join(BOB, room_id))
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "join"}


def test_the_refusals_of_a_restricted_join_tell_unknown_from_unable() -> None:
    world = RoomsWorld()
    authoriser = world.restricted_joins.authoriser
    with pytest.raises(UnableToAuthoriseJoin):
        world.run(authoriser(world.restricted("!elsewhere:hs3"), CAROL))
    with pytest.raises(Forbidden):  # there is none that could hold
        world.run(authoriser(world.restricted(), CAROL))
    club = world.public()
    world.run(world.membership.join(BOB, club))
    with pytest.raises(Forbidden):
        world.run(authoriser(world.restricted(club), CAROL))
    world.send(club, CAROL, "m.room.member", state_key=CAROL, content={"membership": "join"})
    room_id = world.restricted(club, room_version="11")
    assert world.run(authoriser(room_id, CAROL)) == ALICE
    levels = {"users": {ALICE: 50, BOB: 0}, "invite": 50, "events": {"m.room.power_levels": 50}}
    room_id = world.restricted(club, room_version="11")
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content={**levels, "invite": 50})
    assert world.run(authoriser(room_id, CAROL)) == ALICE
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content={**levels, "users": {ALICE: 50}})
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content={**levels, "users": {ALICE: 49}})
    with pytest.raises(UnableToGrantJoin):
        world.run(authoriser(room_id, CAROL))


def test_where_nobody_here_can_vouch_a_server_in_the_room_is_asked_if_there_is_one() -> None:
    world = RoomsWorld()
    club = world.public()
    world.run(world.membership.join(BOB, club))
    room_id = world.restricted(club, room_version="11")
    levels = {"users": {ALICE: 99, CAROL: 100}, "invite": 100}
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content=levels)
    with pytest.raises(Forbidden, match="Nobody of this server"):
        world.run(world.membership.join(BOB, room_id))
    world.send(
        room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": "public", "allow": []}
    )
    world.send(room_id, CAROL, "m.room.member", state_key=CAROL, content={"membership": "join"})
    conditions = [{"type": "m.room_membership", "room_id": club}]
    content = {"join_rule": "restricted", "allow": conditions}
    world.send(room_id, ALICE, "m.room.join_rules", state_key="", content=content)
    world.run(world.membership.join(BOB, room_id))
    [(what, (_, _, via, _))] = world.elsewhere.asked
    assert (what, via) == ("join", ("hs2",))


@pytest.mark.parametrize("allow", ["nothing", {}, [1], [{"type": "m.x"}], [{"type": "m.room_membership"}]])
def test_conditions_of_the_wrong_shape_count_as_not_met(allow: Any) -> None:
    world = RoomsWorld()
    room_id = world.public()
    content = {"join_rule": "restricted", "allow": allow}
    world.send(room_id, ALICE, "m.room.join_rules", state_key="", content=content)
    with pytest.raises(Forbidden):
        world.run(world.membership.join(BOB, room_id))
