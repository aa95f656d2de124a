"""Experiment: the sender is demoted on the other server while the future waits and the servers are apart.

Told as a story in the public words of worlds alone, so that it runs on real processes, too (`--real`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.lab.experiments import Size
from minihs.lab.http_client import in_path
from minihs.lab.report import Report
from minihs.lab.story import Story

QUESTION = (
    "Alice schedules a new topic. Then the servers are parted, and on the other side Bob takes her right to "
    "set it. What is sent, what does each server believe, and do they agree in the end?"
)
METHOD = (
    "Alice is on hs1, Bob, who made the room, on hs2. The topic is due after ten minutes, a message of hers, "
    "which needs no right, after twelve. The servers are parted after one and meet again after thirteen. "
    "Half an hour later both are looked at. On real processes hs1 and hs2 are `minihs serve --lab`, or "
    "hs2 is a Synapse, which stays in the machine's time."
)
REAL = True
"""It can be run on real processes."""


def run(seed: int, size: Size, world: Mapping[str, Any] | None = None) -> Report:  # noqa: ARG001 - it has one size
    """One story; `world` says on what, see `World`."""
    with Story("demoted", servers=["hs1", "hs2"], seed=seed, **(world or {})) as story:
        story.report.question, story.report.method = QUESTION, METHOD
        _tell(story)
        return story.ends()


def _tell(story: Story) -> None:
    story.person("alice", on="hs1")
    story.person("bob", on="hs2")
    story.room("tea", made_by="bob", joined_by=["alice"], power={"alice": 50})
    topic = {"topic": "late"}
    story.schedules(
        "alice", "the topic", in_room="tea", minutes=10, event_type="m.room.topic", key="", content=topic
    )
    story.schedules("alice", "the message", in_room="tea", minutes=12)
    story.waits(minutes=1)
    story.parts(["hs1"], ["hs2"])
    story.gives_power("bob", 0, to="alice", in_room="tea")
    story.waits(minutes=12)

    topic_id, message_id = (_event_id(story, name) for name in ("the topic", "the message"))
    story.expect("apart, hs1 sends both in good faith", topic_id is not None and message_id is not None)
    story.expect_standing("hs1", str(topic_id), "accepted", in_room="tea", called="the topic")
    story.expect_standing("hs2", str(topic_id), "unknown", in_room="tea", called="the topic")
    story.mends()
    story.waits(minutes=30)
    story.expect_standing("hs2", str(topic_id), "soft-failed", in_room="tea", called="the topic")
    story.expect_standing("hs2", str(message_id), "accepted", in_room="tea", called="the message")
    story.expect_seen("bob", "the message", in_room="tea")
    story.expect_agreement("tea")
    key = ("m.room.topic", "")
    story.expect(
        "in the end there is no such topic for anybody",
        all(key not in story.world.people[who].state(story.rooms["tea"]) for who in ("alice", "bob")),
    )


def _event_id(story: Story, name: str) -> str | None:
    """The event that a future became."""
    handle = story.futures[name].handle
    path = f"/_matrix/client/v1/delayed_events/{in_path(str(handle.delay_id))}"
    event_id: str | None = handle.owner.get(path).get("finalised", {}).get("event_id")
    return event_id
