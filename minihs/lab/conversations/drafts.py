"""The dialects before MSC4140 took its later shape: one story each, told to a recording."""

from __future__ import annotations

from minihs.lab.conversations.recording import C, Conversation, U

JOINED, LEFT = {"in_call": True}, {"in_call": False}


def text(body: str) -> dict[str, str]:
    """The content of a text message."""
    return {"msgtype": "m.text", "body": body}


def will_expire(*, yields: bool = False) -> Conversation:
    """Text 1, of 2024-05-08."""
    story = Conversation(
        "will-expire: an event that becomes stale",
        """The first draft, of 2024-05-08. An event says for how many seconds it holds. It is sent at
        once; when the time is over, or somebody with its token ends it, a copy says so.""",
        ["will-expire"],
        yields=yields,
    )
    call = f"{story.room}/state/m.call.member/alice"
    refresh, end = f"{C}/v3/expiration/refresh", f"{C}/v3/expiration/end"

    story.chapter("A call, a heartbeat, silence")
    story.says("The number becomes `running`; other servers and clients never see it.")
    token = story.asks(story.alice, "PUT", call, {**JOINED, "m.will_expire": 10})["expire_refresh_token"]
    story.says("Whoever has the token may restart the timer; no access token is needed.")
    story.waits(8)
    story.asks(None, "PUT", refresh, {"expire_refresh_token": token})
    story.waits(9)
    story.says("Nothing more is heard. Ten seconds after the last heartbeat the copy is sent.")
    story.waits(2)
    story.says("The token is spent.")
    story.asks(None, "PUT", refresh, {"expire_refresh_token": token})

    story.chapter("Ended on purpose, after a restart of the server")
    send = f"{story.room}/send/m.room.message"
    body = {**text("The kettle is on"), "m.will_expire": 60}
    token = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", body)["expire_refresh_token"]
    story.waits(5)
    story.restarts()
    story.asks(None, "PUT", end, {"expire_refresh_token": token})
    story.waits(60)
    story.says("A minute later nothing has happened: of the two copies one at most is sent.")

    story.chapter("Newer state ends the timer")
    token = story.asks(story.alice, "PUT", call, {**JOINED, "m.will_expire": 10})["expire_refresh_token"]
    story.waits(3)
    story.asks(story.alice, "PUT", call, LEFT)
    story.asks(None, "PUT", end, {"expire_refresh_token": token})
    story.waits(10)

    story.chapter("What is refused")
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", {**text("now?"), "m.will_expire": 0})
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", {**text("ever?"), "m.will_expire": 86_401})
    story.asks(None, "PUT", refresh, {"expire_refresh_token": "guess"})
    story.asks(None, "PUT", refresh, {})
    return story


def batch(*, yields: bool = False) -> Conversation:
    """Text 2, of 2024-06-03."""
    story = Conversation(
        "batch: now, on timeout, on action",
        """The draft of 2024-06-03, and the alternative that a later one describes. One request holds an
        event for now, one for when time is over, and any number for actions; at most one of
        the later ones is sent.""",
        ["batch"],
        yields=yields,
    )
    send, futures = f"{story.room}/send/future", f"{C}/v3/futures"
    state = {"type": "m.call.member", "state_key": "alice"}

    story.chapter("A call")
    call = {
        "timeout": 10,
        "send_now": {**state, "content": JOINED},
        "send_on_timeout": {**state, "content": {**LEFT, "reason": "lost"}},
        "send_on_action": {"hang up": {**state, "content": {**LEFT, "reason": "hung up"}}},
    }
    token = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", call)["future_token"]
    story.says("The listing shows the batch with the event that was sent, and the tokens.")
    story.asks(story.alice, "GET", futures)
    story.waits(8)
    story.says("A heartbeat, and an action. Neither needs an access token.")
    story.asks(None, "POST", f"{futures}/refresh", {"future_token": token})
    story.waits(8)
    story.restarts()
    story.asks(None, "POST", f"{futures}/action/hang%20up", {"future_token": token})
    story.says("The rest of the batch is discarded with it, and the token is spent.")
    story.asks(None, "POST", f"{futures}/refresh", {"future_token": token})
    story.waits(20)

    story.chapter("A message for five seconds")
    story.says("`$m.send_now.event_id` stands for the event that is sent now. Every key may have a prefix.")
    message = {
        "m.timeout": 5,
        "m.send_now": {"type": "m.room.message", "content": text("Read this at once")},
        "m.send_on_timeout": {
            "type": "m.room.redaction",
            "content": {"redacts": "$m.send_now.event_id", "reason": "time is over"},
        },
    }
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", message)
    story.waits(5)

    story.chapter("Each part has tokens of its own")
    later = {
        "timeout": 60,
        "send_on_timeout": {"type": "m.room.message", "content": text("Nobody said a word")},
        "send_on_action": {"speak": {"type": "m.room.message", "content": text("A word")}},
    }
    reply = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", later)
    cancel = reply["send_on_timeout"]["cancel_token"]
    story.says(
        "Cancelling what the timer would send leaves nothing that ends the batch: all of it is discarded."
    )
    story.asks(None, "POST", f"{C}/v1/future/{cancel}")
    speak = reply["send_on_action"]["speak"]["send_token"]
    story.asks(None, "POST", f"{C}/v1/future/{speak}")

    story.chapter("A batch lives only while its state event is current")
    token = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", call)["future_token"]
    story.waits(2)
    story.asks(story.bob, "PUT", f"{story.room}/state/m.call.member/alice", {**LEFT, "by": "bob"})
    story.asks(None, "POST", f"{futures}/refresh", {"future_token": token})
    story.waits(10)

    story.chapter("What is refused, and what is no batch")
    lacks = {"timeout": 10, "send_now": {"type": "m.room.message", "content": text("now")}}
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", lacks)
    no_content = {"timeout": 10, "send_on_timeout": {"type": "m.room.message"}}
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", no_content)
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", {**later, "timeout": 1.5})
    token = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", later)["future_token"]
    story.asks(None, "POST", f"{futures}/action/whisper", {"future_token": token})
    story.asks(None, "POST", f"{futures}/refresh", {"future_token": "guess"})
    story.says("A body with neither a timeout nor anything to send is an ordinary message of that type.")
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", {"body": "What will be?"})
    return story


def tokens(*, yields: bool = False) -> Conversation:
    """Texts 3 and 4, of 2024-06-13 and 2024-06-20."""
    story = Conversation(
        "tokens: send_future, state_future, and a token for each thing",
        """The drafts of 2024-06-06 to 2024-06-22. A future is scheduled by an endpoint of its own. Its
        reply has a token for each thing that may be done with it, so that a single right can
        be given away. Groups are chosen by their owner; of a group one event at most is sent.""",
        ["tokens"],
        yields=yields,
    )
    room = f"{C}/v1/rooms/{story.room.rpartition('/')[2]}"
    call, future = f"{room}/state_future/m.call.member/alice", f"{C}/v1/future"

    story.chapter("A call: the client's heartbeat, and the switchboard's word")
    query = "future_timeout=10000&future_group_id=call"
    lost = story.asks(story.alice, "PUT", call, {**LEFT, "reason": "lost"}, query=query)
    story.says(
        "An event without a timeout is sent only by its token; it needs a group with one that has a timeout."
    )
    hung_up = story.asks(
        story.alice, "PUT", call, {**LEFT, "reason": "hung up"}, query="future_group_id=call"
    )
    story.asks(story.alice, "GET", future)
    story.waits(8)
    story.asks(None, "POST", f"{future}/{lost['refresh_token']}")
    story.waits(8)
    story.restarts()
    story.asks(None, "POST", f"{future}/{lost['refresh_token']}")
    story.waits(1)
    story.asks(None, "POST", f"{future}/{hung_up['send_token']}")
    story.says("The other event of the group is discarded, and its tokens are spent.")
    story.asks(None, "POST", f"{future}/{lost['send_token']}")
    story.waits(20)

    story.chapter("Silence, while the server is down")
    message = f"{room}/send_future/m.room.message"
    story.asks(
        story.alice, "PUT", f"{message}/{story.txn()}", text("Tea is ready"), query="future_timeout=10000"
    )
    story.waits(5)
    story.goes_down()
    story.world.advance(seconds=30)
    story.comes_up()

    story.chapter("A group without a timer is discarded")
    query = "future_timeout=60000&future_group_id=choice"
    first = story.asks(story.alice, "PUT", f"{message}/{story.txn()}", text("left"), query=query)
    second = story.asks(
        story.alice, "PUT", f"{message}/{story.txn()}", text("right"), query="future_group_id=choice"
    )
    story.asks(None, "POST", f"{future}/{first['cancel_token']}")
    story.asks(None, "POST", f"{future}/{second['send_token']}")
    story.says("The name is free again, for anybody.")
    story.asks(story.bob, "PUT", f"{message}/{story.txn()}", text("mine"), query=query)
    story.says("While it is taken, nobody else may use it.")
    story.asks(story.alice, "PUT", f"{message}/{story.txn()}", text("ours"), query=query)

    story.chapter("Newer state wins")
    waiting = story.asks(story.alice, "PUT", call, LEFT, query="future_timeout=10000")
    story.waits(5)
    story.asks(story.alice, "PUT", f"{story.room}/state/m.call.member/alice", JOINED)
    story.asks(None, "POST", f"{future}/{waiting['refresh_token']}")
    story.waits(10)

    story.chapter("What is refused")
    story.asks(story.alice, "PUT", f"{message}/{story.txn()}", text("when?"))
    story.asks(story.alice, "PUT", f"{message}/{story.txn()}", text("now?"), query="future_timeout=0")
    too_long = "future_timeout=86400001"
    story.asks(story.alice, "PUT", f"{message}/{story.txn()}", text("ever?"), query=too_long)
    story.asks(story.alice, "PUT", f"{message}/{story.txn()}", text("who?"), query="future_group_id=nobody")
    story.says("Five unknown tokens in a row from one address are answered with 410, the next ones with 429.")
    for guess in ("a", "b", "c", "d", "e", "f"):
        story.asks(None, "POST", f"{future}/{guess}")
    return story


def tokens_on_send(*, yields: bool = False) -> Conversation:
    """Text 5, of 2024-06-24."""
    story = Conversation(
        "tokens-on-send: the same through the ordinary endpoints",
        """The draft of 2024-06-24. The tokens and groups of `tokens`, asked for by query parameters of
        `/send` and `/state`; the errors have codes of their own.""",
        ["tokens-on-send"],
        yields=yields,
    )
    send, future = f"{story.room}/send/m.room.message", f"{C}/v1/future"
    call = f"{story.room}/state/m.call.member/alice"

    story.chapter("A call")
    story.asks(story.alice, "PUT", call, JOINED)
    lost = story.asks(
        story.alice,
        "PUT",
        call,
        {**LEFT, "reason": "lost"},
        query="future_timeout=10000&future_group_id=call",
    )
    hung_up = story.asks(
        story.alice, "PUT", call, {**LEFT, "reason": "hung up"}, query="future_group_id=call"
    )
    story.waits(9)
    story.asks(None, "POST", f"{future}/{lost['refresh_token']}")
    story.restarts()
    story.asks(story.alice, "GET", future)
    story.waits(10)
    story.asks(None, "POST", f"{future}/{hung_up['send_token']}")

    story.chapter("A group that is given up")
    query = "org.matrix.msc4140.future_timeout=60000"
    one = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("one"), query=query)
    group = f"org.matrix.msc4140.future_group_id={one['future_group_id']}"
    other = story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("other"), query=group)
    story.asks(None, "POST", f"{future}/{one['cancel_token']}")
    story.asks(None, "POST", f"{future}/{other['send_token']}")

    story.chapter("Newer state wins")
    waiting = story.asks(story.alice, "PUT", call, LEFT, query="future_timeout=10000")
    story.asks(story.bob, "PUT", call, {**LEFT, "by": "bob"})
    story.asks(None, "POST", f"{future}/{waiting['send_token']}")

    story.chapter("What is refused")
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("who?"), query="future_group_id=nobody")
    too_long = "future_timeout=86400001"
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("ever?"), query=too_long)
    story.asks(
        story.bob,
        "PUT",
        f"{send}/{story.txn()}",
        text("mine"),
        query="future_timeout=60000&future_group_id=g",
    )
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("ours"), query="future_group_id=g")
    story.says("The parameters of a dialect that is off are refused, never ignored.")
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("later"), query="delay=1000")
    return story


def future_id(*, yields: bool = False) -> Conversation:
    """A draft of 2024-07-15, of which no text is left."""
    story = Conversation(
        "future-id: one ID, parents and children",
        """The draft of 2024-07-15. Instead of tokens there is one ID, and its owner's access token is
        needed. A future may name another one as its parent; both are then of one group.""",
        ["future-id"],
        yields=yields,
    )
    send, update = f"{story.room}/send/m.room.message", f"{C}/v1/update_future"

    story.chapter("A parent and its child")
    parent = story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("I was cut off"), query="future_timeout=10000"
    )["future_id"]
    child = story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("Goodbye"), query=f"parent_future_id={parent}"
    )["future_id"]
    story.asks(story.alice, "GET", f"{C}/v1/future")
    story.waits(9)
    story.asks(story.alice, "POST", update, {"future_id": parent, "action": "refresh"})
    story.restarts()
    story.waits(9)
    story.asks(story.alice, "POST", f"{U}/update_future", {"future_id": child, "action": "send"})
    story.asks(story.alice, "POST", update, {"future_id": parent, "action": "send"})
    story.waits(10)

    story.chapter("A timeout, and a parent that is given up")
    parent = story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("parent"), query="future_timeout=5000"
    )["future_id"]
    story.waits(5)
    parent = story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("parent"), query="future_timeout=5000"
    )["future_id"]
    child = story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("child"), query=f"parent_future_id={parent}"
    )["future_id"]
    story.asks(story.alice, "POST", update, {"future_id": parent, "action": "cancel"})
    story.asks(story.alice, "POST", update, {"future_id": child, "action": "send"})
    story.waits(10)

    story.chapter("Newer state wins")
    call = f"{story.room}/state/m.call.member/alice"
    waiting = story.asks(story.alice, "PUT", call, LEFT, query="future_timeout=5000")["future_id"]
    story.asks(story.alice, "PUT", call, JOINED)
    story.asks(story.alice, "POST", update, {"future_id": waiting, "action": "refresh"})
    story.waits(5)

    story.chapter("What is refused")
    parent = story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("parent"), query="future_timeout=60000"
    )["future_id"]
    story.asks(story.bob, "POST", update, {"future_id": parent, "action": "send"})
    story.asks(story.bob, "PUT", f"{send}/{story.txn()}", text("?"), query=f"parent_future_id={parent}")
    child = story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("child"), query=f"parent_future_id={parent}"
    )["future_id"]
    story.says("A child cannot be a parent.")
    story.asks(
        story.alice, "PUT", f"{send}/{story.txn()}", text("grandchild"), query=f"parent_future_id={child}"
    )
    too_long = "future_timeout=86400001"
    story.asks(story.alice, "PUT", f"{send}/{story.txn()}", text("ever?"), query=too_long)
    return story
