"""matrix-nio, a Python SDK with a schema for every reply, against a real process of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, TypeVar

import pytest
from nio import (
    AsyncClient,
    ErrorResponse,
    MatrixRoom,
    ReceiptEvent,
    RedactedEvent,
    RoomMemberEvent,
    RoomMessageText,
    RoomPreset,
    RoomTopicEvent,
    TypingNoticeEvent,
)

from minihs.processes import ServerProcess
from tests.support.peers import PASSWORD, quote

pytestmark = pytest.mark.process

PATIENCE_S = 15.0

Kind = TypeVar("Kind")
Story = Callable[[AsyncClient, AsyncClient], Coroutine[Any, Any, None]]

_numbers = count(1)


async def done(reply: Awaitable[Any]) -> Any:
    """The reply, which must be the one that the SDK expects of a request that succeeded."""
    answer = await reply
    assert not isinstance(answer, ErrorResponse), answer
    return answer


@asynccontextmanager
async def account(server: ServerProcess, name: str) -> AsyncIterator[AsyncClient]:
    """A new user, logged in with the password on a device of its own, after a first sync."""
    client = AsyncClient(server.client_url, f"{name}{next(_numbers)}")
    try:
        registered = await done(client.register(client.user, PASSWORD))
        await done(client.logout())
        client.user = registered.user_id
        await done(client.login(PASSWORD, device_name="nio"))
        await done(client.sync(timeout=0))
        yield client
    finally:
        await client.close()


def told(server: ServerProcess, story: Story) -> None:
    """Run a story with two users on one server."""

    async def run() -> None:
        async with AsyncExitStack() as clients:
            alice = await clients.enter_async_context(account(server, "alice"))
            bob = await clients.enter_async_context(account(server, "bob"))
            async with asyncio.timeout(PATIENCE_S):
                await story(alice, bob)

    asyncio.run(run())


async def sees(client: AsyncClient, kind: type[Kind], wanted: Callable[[Kind], bool]) -> Kind:
    """The first event of that kind that fits, as the SDK hands it to its callbacks; syncs until it comes."""
    found: list[Kind] = []

    async def note(_: MatrixRoom, event: Any) -> None:
        if wanted(event):
            found.append(event)

    add = (
        client.add_ephemeral_callback
        if kind in (TypingNoticeEvent, ReceiptEvent)
        else client.add_event_callback
    )
    add(note, kind)
    while not found:
        await done(client.sync(timeout=1_000))
    return found[0]


async def shared_room(alice: AsyncClient, bob: AsyncClient) -> str:
    """A private room of Alice's that Bob was invited to and joined."""
    room = await done(alice.room_create(name="A room", preset=RoomPreset.private_chat, invite=[bob.user_id]))
    while room.room_id not in bob.invited_rooms:
        await done(bob.sync(timeout=1_000))
    assert bob.invited_rooms[room.room_id].inviter == alice.user_id
    await done(bob.join(room.room_id))
    while room.room_id not in bob.rooms:
        await done(bob.sync(timeout=1_000))
    while bob.user_id not in getattr(alice.rooms.get(room.room_id), "users", {}):
        await done(alice.sync(timeout=1_000))
    return str(room.room_id)


async def say(client: AsyncClient, room_id: str, body: str) -> str:
    reply = await done(client.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": body}))
    return str(reply.event_id)


def test_an_account_is_made_used_and_left(interop_server: ServerProcess) -> None:
    async def run() -> None:
        async with account(interop_server, "carol") as carol:
            who = await done(carol.whoami())
            assert (who.user_id, who.device_id) == (carol.user_id, carol.device_id)
            devices = (await done(carol.devices())).devices
            assert [device.display_name for device in devices] == ["nio"]
            await done(carol.set_displayname("Carol"))
            assert (await done(carol.get_profile())).displayname == "Carol"
            token = carol.access_token
            await done(carol.logout())
            carol.access_token = token
            assert (await carol.whoami()).status_code == "M_UNKNOWN_TOKEN"
            refused = await carol.login("wrong")
            assert refused.status_code == "M_FORBIDDEN"
            await done(carol.login(PASSWORD))

    asyncio.run(run())


def test_two_users_meet_by_invitation_and_talk(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        assert bob.rooms[room_id].name == "A room"
        for sender, reader in ((alice, bob), (bob, alice)):
            event_id = await say(sender, room_id, f"hello from {sender.user_id}")
            event = await sees(
                reader, RoomMessageText, lambda event, wanted=event_id: event.event_id == wanted
            )
            assert (event.sender, event.body) == (sender.user_id, f"hello from {sender.user_id}")
        members = (await done(bob.joined_members(room_id))).members
        assert {member.user_id for member in members} == {alice.user_id, bob.user_id}
        assert (await done(bob.joined_rooms())).rooms == [room_id]

    told(interop_server, story)


def test_state_is_set_and_read(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        put = await done(alice.room_put_state(room_id, "m.room.topic", {"topic": "interoperation"}))
        event = await sees(bob, RoomTopicEvent, lambda event: event.event_id == put.event_id)
        assert event.topic == bob.rooms[room_id].topic == "interoperation"
        one = await done(bob.room_get_state_event(room_id, "m.room.topic"))
        assert one.content == {"topic": "interoperation"}
        everything = (await done(bob.room_get_state(room_id))).events
        assert {"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.topic"} <= {
            event["type"] for event in everything
        }
        refused = await bob.room_put_state(room_id, "m.room.topic", {"topic": "Bob's"})
        assert refused.status_code == "M_FORBIDDEN"

    told(interop_server, story)


def test_typing_and_receipts_are_seen(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        await done(alice.room_typing(room_id, typing_state=True, timeout=30_000))
        await sees(bob, TypingNoticeEvent, lambda event: event.users == [alice.user_id])
        await done(alice.room_typing(room_id, typing_state=False))
        await sees(bob, TypingNoticeEvent, lambda event: event.users == [])
        event_id = await say(alice, room_id, "read this")
        await done(bob.update_receipt_marker(room_id, event_id))
        receipts = await sees(
            alice,
            ReceiptEvent,
            lambda event: any(receipt.event_id == event_id for receipt in event.receipts),
        )
        assert [receipt.user_id for receipt in receipts.receipts] == [bob.user_id]
        await done(bob.room_read_markers(room_id, fully_read_event=event_id, read_event=event_id))

    told(interop_server, story)


def test_a_redacted_message_is_seen_as_one(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        event_id = await say(alice, room_id, "said too much")
        await done(alice.room_redact(room_id, event_id, reason="a test"))
        event = (await done(bob.room_get_event(room_id, event_id))).event
        assert isinstance(event, RedactedEvent)
        assert (event.redacter, event.reason) == (alice.user_id, "a test")

    told(interop_server, story)


def test_history_is_paged_through(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        said = [await say(alice, room_id, f"message {number}") for number in range(25)]
        read: list[str] = []
        page = await done(bob.room_messages(room_id, start="", limit=10))
        while page.chunk:
            read += [event.event_id for event in page.chunk if isinstance(event, RoomMessageText)]
            if page.end is None:
                break
            page = await done(bob.room_messages(room_id, start=page.end, limit=10))
        assert read == said[::-1]
        around = await done(bob.room_context(room_id, said[10], limit=4))
        assert around.event.event_id == said[10]
        assert [event.event_id for event in around.events_before] == [said[9], said[8]]
        assert [event.event_id for event in around.events_after] == [said[11], said[12]]

    told(interop_server, story)


def test_a_member_is_kicked_banned_and_forgets_the_room(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        await done(alice.room_kick(room_id, bob.user_id, reason="out"))
        await sees(
            alice,
            RoomMemberEvent,
            lambda event: event.state_key == bob.user_id and event.membership == "leave",
        )
        assert (await bob.join(room_id)).status_code == "M_FORBIDDEN"
        await done(alice.room_invite(room_id, bob.user_id))
        await done(bob.join(room_id))
        await done(alice.room_ban(room_id, bob.user_id))
        assert (await alice.room_invite(room_id, bob.user_id)).status_code == "M_FORBIDDEN"
        await done(alice.room_unban(room_id, bob.user_id))
        await done(bob.room_forget(room_id))
        assert (await done(bob.joined_rooms())).rooms == []

    told(interop_server, story)


def test_rooms_are_found_by_alias(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        name = f"hall-of-{alice.user_id[1:].partition(':')[0]}"
        created = await done(alice.room_create(alias=name, preset=RoomPreset.public_chat))
        alias = f"#{name}:{interop_server.server_name}"
        found = await done(bob.room_resolve_alias(alias))
        assert (found.room_id, found.servers) == (created.room_id, [interop_server.server_name])
        assert (await done(bob.join(alias))).room_id == created.room_id
        await done(alice.room_delete_alias(alias))
        assert (await bob.room_resolve_alias(alias)).status_code == "M_NOT_FOUND"

    told(interop_server, story)


class Futures:
    """Requests about futures with the SDK's session; it has no calls for them, so its user makes them."""

    BASE = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"

    def __init__(self, client: AsyncClient, room_id: str) -> None:
        self._client = client
        self._room = f"/_matrix/client/v3/rooms/{quote(room_id)}"

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._client.access_token}"}
        data = "" if body is None else json.dumps(body)
        reply = await self._client.send(method, path, data, headers)
        return reply.status, await reply.json()

    async def message(self, body: str, delay_ms: int) -> str:
        path = f"{self._room}/send/m.room.message/txn{next(_numbers)}?org.matrix.msc4140.delay={delay_ms}"
        return await self._scheduled(path, {"msgtype": "m.text", "body": body})

    async def topic(self, topic: str, delay_ms: int) -> str:
        path = f"{self._room}/state/m.room.topic?org.matrix.msc4140.delay={delay_ms}"
        return await self._scheduled(path, {"topic": topic})

    async def manage(self, delay_id: str, action: str) -> int:
        status, _ = await self.request("POST", f"{self.BASE}/{delay_id}", {"action": action})
        return status

    async def listed(self) -> list[str]:
        _, reply = await self.request("GET", self.BASE)
        return [item["delay_id"] for item in reply["delayed_events"]]

    async def _scheduled(self, path: str, content: Any) -> str:
        status, reply = await self.request("PUT", path, content)
        assert status == 200, reply
        return str(reply["delay_id"])


def test_futures_are_scheduled_with_the_sdks_session_and_seen_in_its_callbacks(
    interop_server: ServerProcess,
) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        futures = Futures(alice, room_id)
        due = await futures.message("due", 200)
        told_to, cancelled = await futures.message("told to", 600_000), await futures.message("no", 600_000)
        assert await futures.listed() == [due, told_to, cancelled]
        await sees(bob, RoomMessageText, lambda event: event.body == "due")
        assert await futures.manage(told_to, "send") == 200
        assert await futures.manage(cancelled, "cancel") == 200
        await sees(bob, RoomMessageText, lambda event: event.body == "told to")
        assert await futures.listed() == []

    told(interop_server, story)


def test_a_delayed_topic_is_held_by_heartbeats_and_comes_after_the_last(
    interop_server: ServerProcess,
) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        futures = Futures(alice, room_id)
        topic = await futures.topic("nobody is there", 800)
        ends = asyncio.get_running_loop().time() + 1.6  # twice the delay: a heart beats in real time
        while asyncio.get_running_loop().time() < ends:
            assert await futures.manage(topic, "restart") == 200
            await done(bob.sync(timeout=100))
        assert bob.rooms[room_id].topic is None
        event = await sees(bob, RoomTopicEvent, lambda event: event.topic == "nobody is there")
        assert event.sender == alice.user_id
        assert bob.rooms[room_id].topic == "nobody is there"
        assert await futures.manage(topic, "restart") == 404

    told(interop_server, story)


def test_nobody_else_sees_or_lists_a_future_before_it_is_sent(interop_server: ServerProcess) -> None:
    async def story(alice: AsyncClient, bob: AsyncClient) -> None:
        room_id = await shared_room(alice, bob)
        futures, of_bob = Futures(alice, room_id), Futures(bob, room_id)
        delay_id = await futures.message("later", 600_000)
        assert await of_bob.listed() == []
        assert await of_bob.manage(delay_id, "send") == 404
        history = await done(bob.room_messages(room_id, start="", limit=50))
        assert not [event for event in history.chunk if isinstance(event, RoomMessageText)]
        assert await futures.manage(delay_id, "send") == 200
        await sees(bob, RoomMessageText, lambda event: event.body == "later")

    told(interop_server, story)
