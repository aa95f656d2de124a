"""What shipped clients speak, the accepted text, and what goes with it: a story each, told to a recording."""

from __future__ import annotations

from minihs.lab.conversations.drafts import JOINED, LEFT, text
from minihs.lab.conversations.recording import C, Conversation, U


def delay_query(*, yields: bool = False) -> Conversation:
    """Texts 6 to 8, from 2024-07-24."""
    story = Conversation(
        "delay-query: what shipped clients speak",
        """The drafts from 2024-07-24 on. A query parameter of `/send` and `/state` asks for the delay;
        the delay ID of the reply is all that is needed to manage the future.""",
        ["delay-query"],
        yields=yields,
    )
    call, managed = f"{story.room}/state/m.call.member/alice", f"{U}/delayed_events"
    delay = "org.matrix.msc4140.delay"

    story.chapter("A call")
    story.asks(story.alice, "PUT", call, JOINED)
    lost = story.asks(story.alice, "PUT", call, {**LEFT, "reason": "lost"}, query=f"{delay}=10000")[
        "delay_id"
    ]
    story.waits(8)
    story.says("The action stands in the body or in the path. No access token is needed.")
    story.asks(None, "POST", f"{managed}/{lost}", {"action": "restart"})
    story.waits(8)
    story.restarts()
    story.asks(None, "POST", f"{managed}/{lost}/restart")
    story.asks(story.alice, "GET", managed)
    story.waits(10)
    story.says(
        "An action that agrees with what has happened is a success, one that contradicts it is not found."
    )
    story.asks(None, "POST", f"{managed}/{lost}/send")
    story.asks(None, "POST", f"{managed}/{lost}/restart")

    story.chapter("Sent early, cancelled")
    send = f"{story.room}/send/m.room.message"
    early, never = (
        story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text(word), query=f"{delay}=60000")[
            "delay_id"
        ]
        for word in ("early", "never")
    )
    story.asks(None, "POST", f"{managed}/{early}", {"action": "send"})
    story.asks(None, "POST", f"{managed}/{never}", {"action": "cancel"})
    story.asks(story.alice, "GET", f"{managed}/finalised")

    story.chapter("Newer state of somebody else wins, one's own does not")
    lost = story.asks(story.alice, "PUT", call, LEFT, query=f"{delay}=10000")["delay_id"]
    story.asks(story.alice, "PUT", call, JOINED)
    story.asks(story.bob, "PUT", call, {**LEFT, "by": "bob"})
    story.waits(10)
    story.asks(story.alice, "GET", managed, query=f"status=finalised&delay_id={lost}")

    story.chapter("What is refused")
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("ever?"), query=f"{delay}=86400001")
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("now?"), query=f"{delay}=0")
    waiting = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("mine"), query=f"{delay}=60000")
    story.says("An access token that is given must be the owner's.")
    story.asks(story.bob, "POST", f"{managed}/{waiting['delay_id']}/send")
    return story


def merged(*, yields: bool = False) -> Conversation:
    """The text that was accepted on 2026-09-08."""
    story = Conversation(
        "merged: MSC4140 as it was accepted",
        """The text of 2026-09-08. Scheduling, managing and looking up have endpoints of their own, and
        all need the owner's access token.""",
        ["merged"],
        yields=yields,
        max_scheduled=2,
    )
    schedule, managed = f"{story.room}/delayed_event", f"{C}/v1/delayed_events"
    left = {"delay_ms": 10_000, "state_key": "alice", "content": LEFT}

    story.chapter("A call")
    lost = story.asks(story.alice, "PUT", f"{schedule}/m.call.member/{story.txn()}", left)["delay_id"]
    story.waits(8)
    story.asks(story.alice, "POST", f"{managed}/{lost}/restart")
    story.waits(8)
    story.restarts()
    story.asks(story.alice, "POST", f"{managed}/{lost}/restart")
    story.asks(story.alice, "GET", f"{managed}/{lost}")
    story.waits(10)
    story.asks(story.alice, "GET", f"{managed}/{lost}")

    story.chapter("Sent early, cancelled, and asked for otherwise")
    message = {"delay_ms": 60_000, "content": text("later")}
    early = story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", message)["delay_id"]
    never = story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", message)["delay_id"]
    story.says("Two may be scheduled on this server. A third has to wait for the next due time.")
    story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", message)
    story.asks(story.alice, "POST", f"{managed}/{early}/send")
    story.asks(story.alice, "POST", f"{managed}/{never}/cancel")
    story.says("What agrees with the outcome may be repeated; what contradicts it is a conflict.")
    story.asks(story.alice, "POST", f"{managed}/{early}/send")
    story.asks(story.alice, "POST", f"{managed}/{early}/restart")
    story.asks(story.alice, "POST", f"{managed}/{never}/send")
    story.asks(story.alice, "GET", f"{managed}/{never}")

    story.chapter("The right to send is judged when it is sent")
    story.says("Bob has left the room by then. A command is told why not; the future stays until its time.")
    goodbye = {"delay_ms": 5_000, "content": text("Are you still there?")}
    bobs = story.asks(story.bob, "PUT", f"{schedule}/m.room.message/{story.txn()}", goodbye)["delay_id"]
    story.bob.leave(story.room_id)
    story.shows()
    story.asks(story.bob, "POST", f"{managed}/{bobs}/send")
    story.waits(5)
    story.asks(story.bob, "GET", f"{managed}/{bobs}")

    story.chapter("State does not end it")
    lost = story.asks(story.alice, "PUT", f"{schedule}/m.call.member/{story.txn()}", left)["delay_id"]
    story.asks(story.alice, "PUT", f"{story.room}/state/m.call.member/alice", JOINED)
    story.waits(10)

    story.chapter("What is refused")
    too_long = {**message, "delay_ms": 86_400_001}
    story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", too_long)
    story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", {"content": {}})
    story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", {**message, "delay_ms": 0})
    story.asks(story.bob, "POST", f"{managed}/{lost}/send")
    story.asks(None, "POST", f"{managed}/{lost}/send")
    return story


def msc4486(*, yields: bool = False) -> Conversation:
    """The listing, of June 2026."""
    story = Conversation(
        "msc4486: listing delayed events",
        """The listing moved out of MSC4140 into a proposal of its own: by the time of sending, with
        filters.""",
        ["merged", "msc4486"],
        yields=yields,
    )
    schedule, listing = f"{story.room}/delayed_event/m.room.message", f"{C}/v1/delayed_events"
    story.chapter("Three futures")
    delay_ids = []
    for seconds, word in ((5, "sent"), (20, "cancelled"), (40, "scheduled")):
        body = {"delay_ms": seconds * 1000, "content": text(word)}
        delay_ids.append(story.asks(story.alice, "PUT", f"{schedule}/{story.txn()}", body)["delay_id"])
    story.waits(5)
    story.asks(story.alice, "POST", f"{listing}/{delay_ids[1]}/cancel")
    story.chapter("Everything that is kept, by the time of sending")
    story.asks(story.alice, "GET", listing)
    story.chapter("Filters")
    story.asks(story.alice, "GET", listing, query="status=scheduled")
    story.asks(story.alice, "GET", listing, query="status=cancelled&type=m.room.message&dir=b")
    began = story.world["hs1"].clock.wall_ms() - 5_000
    story.asks(story.alice, "GET", listing, query=f"from_ts={began + 5_001}&to_ts={began + 20_000}")
    unstable = f"{C}/unstable/org.matrix.msc4486/delayed_events"
    story.asks(story.alice, "GET", unstable, query="org.matrix.msc4486.status=sent")
    story.chapter("What is refused")
    story.asks(story.alice, "GET", listing, query="status=finalised")
    story.asks(story.alice, "GET", listing, query="from=yesterday")
    return story


def msc4309(*, yields: bool = False) -> Conversation:
    """Outcomes in /sync."""
    story = Conversation(
        "msc4309: outcomes in /sync",
        """Futures that were sent, or failed, are told to their owner in `/sync`, each once; those that
        their owner cancelled are not. The filter here leaves out everything else.""",
        ["merged", "msc4309"],
        yields=yields,
    )
    schedule = f"{story.room}/delayed_event"
    everything_else = '{"room":{"rooms":[]},"account_data":{"types":[]},"presence":{"types":[]}}'
    sync = f"filter={_encoded(everything_else)}"

    def since(token: str) -> str:
        return f"{sync}&since={token}"

    story.chapter("One is sent, one fails, one is cancelled")
    token = story.asks(story.alice, "GET", f"{C}/v3/sync", query=sync)["next_batch"]
    sent = {"delay_ms": 5_000, "content": text("sent")}
    fails = {"delay_ms": 6_000, "content": {"redacts": "$nothing"}}
    story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", sent)
    story.asks(story.alice, "PUT", f"{schedule}/m.room.redaction/{story.txn()}", fails)
    cancelled = story.asks(story.alice, "PUT", f"{schedule}/m.room.message/{story.txn()}", sent)["delay_id"]
    story.asks(story.alice, "POST", f"{C}/v1/delayed_events/{cancelled}/cancel")
    story.says("What is scheduled or cancelled is no news.")
    story.asks(story.alice, "GET", f"{C}/v3/sync", query=since(token))
    story.chapter("The news")
    story.waits(6)
    story.restarts()
    story.says(
        "The same token gives the same news, also after a restart of the server; the next one gives none."
    )
    reply = story.asks(story.alice, "GET", f"{C}/v3/sync", query=since(token))
    story.asks(story.alice, "GET", f"{C}/v3/sync", query=since(reply["next_batch"]))
    story.says("A filter leaves them out.")
    without = everything_else[:-1] + ',"org.matrix.msc4140.finalised_delayed_events":false}'
    story.asks(story.alice, "GET", f"{C}/v3/sync", query=f"filter={_encoded(without)}&since={token}")
    return story


def _encoded(json: str) -> str:
    """JSON in a query, no more encoded than it must be, so that it can be read."""
    return json.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
