"""A server process ends: asked to, killed, or with a full disk. What it acknowledged is there afterwards."""

from __future__ import annotations

import json
import resource
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from minihs.demo.client import RequestFailed
from minihs.processes import STOP_WITHIN_S, ServerProcess
from tests.support.peers import Cast, Peer, quote
from tests.support.processes import until

pytestmark = pytest.mark.process

LOST = (OSError, RequestFailed, ValueError)
"""What a client meets when its server goes away: a broken connection, an error, half an answer."""


def end(server: ServerProcess, sign: signal.Signals) -> int:
    """Send a signal; the exit code, once the process has ended."""
    assert server.process is not None
    server.process.send_signal(sign)
    return server.process.wait(STOP_WITHIN_S)


def bodies(peer: Peer, room_id: str) -> list[str]:
    """What was said in the room, oldest first."""
    return [
        event["content"]["body"]
        for event in reversed(peer.messages(room_id))
        if event["type"] == "m.room.message"
    ]


class Senders:
    """Threads that send messages until their server goes away; `acknowledged` is what it said it has."""

    def __init__(self, peers: list[Peer], room_id: str) -> None:
        self.acknowledged: dict[str, str] = {}
        self._threads = [threading.Thread(target=self._send, args=(peer, room_id)) for peer in peers]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        for thread in self._threads:
            thread.join()

    def _send(self, peer: Peer, room_id: str) -> None:
        number = 0
        while True:
            body = f"{peer.user_id} {number}"
            try:
                self.acknowledged[body] = peer.send(room_id, body)
            except LOST:
                return
            number += 1


def crowd(server: ServerProcess, cast: Cast, size: int = 4) -> tuple[list[Peer], str]:
    """Some users of a server, in one room."""
    users = [cast.user(server, "user") for _ in range(size)]
    room_id = users[0].create("12")
    for user in users[1:]:
        user.join(room_id, via=server.server_name)
    return users, room_id


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_end_does_so_cleanly_and_keeps_everything(
    server: ServerProcess, cast: Cast, sign: signal.Signals
) -> None:
    server.start()
    alice = cast.user(server, "alice")
    room_id = alice.create("12", name="A room")
    said = alice.send(room_id, "before")
    delay_id = alice.schedule(room_id, "m.room.message", {"msgtype": "m.text", "body": "later"}, 3_600_000)
    alice.sync()
    state = alice.state(room_id)
    assert end(server, sign) == 0
    assert not list(server.data_dir.glob("*-wal"))  # everything is in the database file itself
    server.start()
    assert alice.state(room_id) == state
    assert alice.sync() == []
    assert alice.room(room_id, "GET", f"event/{quote(said)}")["content"]["body"] == "before"
    alice.manage(delay_id, "send")
    assert bodies(alice, room_id) == ["before", "later"]
    assert "Traceback" not in server.log_file.read_text()


def test_a_request_that_waits_is_answered_when_the_server_ends(server: ServerProcess, cast: Cast) -> None:
    server.start()
    alice = cast.user(server, "alice")
    alice.sync()
    with socket.create_connection(("127.0.0.1", server.client_port), timeout=STOP_WITHIN_S) as waiting:
        path = f"/_matrix/client/v3/sync?timeout=600000&since={quote(str(alice.since))}"
        headers = f"Host: localhost\r\nAuthorization: Bearer {alice.token}\r\n"
        waiting.sendall(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
        for _ in range(3):  # by then the server has read what came before
            alice.request("GET", "/_matrix/client/v3/account/whoami")
        assert end(server, signal.SIGTERM) == 0
        answer = b"".join(_received(waiting))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["next_batch"]


def _received(connection: socket.socket) -> Iterator[bytes]:
    while part := connection.recv(65_536):
        yield part


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_was_acknowledged_is_there_once_after_a_stop_amid_sending(
    server: ServerProcess, cast: Cast, sign: signal.Signals
) -> None:
    server.start()
    users, room_id = crowd(server, cast)
    senders = Senders(users, room_id)
    until(lambda: len(senders.acknowledged) > 200, "200 messages")
    end(server, sign)
    senders.finish()
    server.start()
    said = bodies(users[0], room_id)
    assert sorted(set(said)) == sorted(said)
    assert senders.acknowledged.keys() <= set(said)
    # At most the one message that each had on its way may be there without having been acknowledged.
    assert len(said) <= len(senders.acknowledged) + len(users)


def test_a_repeated_transaction_id_gives_the_same_event_across_a_kill(
    server: ServerProcess, cast: Cast
) -> None:
    server.start()
    alice = cast.user(server, "alice")
    room_id = alice.create("12")
    content = {"msgtype": "m.text", "body": "once"}
    first = alice.room(room_id, "PUT", "send/m.room.message/txn", content)
    server.kill()
    server.start()
    assert alice.room(room_id, "PUT", "send/m.room.message/txn", content) == first
    assert bodies(alice, room_id) == ["once"]


def test_what_was_acknowledged_of_futures_survives_a_kill(server: ServerProcess, cast: Cast) -> None:
    server.start()
    alice = cast.user(server, "alice")
    room_id = alice.create("12")

    def schedule(body: str, delay_ms: int) -> str:
        return alice.schedule(room_id, "m.room.message", {"msgtype": "m.text", "body": body}, delay_ms)

    sent, cancelled, kept = (schedule(body, 3_600_000) for body in ("sent", "cancelled", "kept"))
    alice.manage(sent, "send")
    alice.manage(cancelled, "cancel")
    alice.manage(kept, "restart")
    restarted_at = alice.future(kept)["delayed_since_ts"]
    due = schedule("due", 50)
    server.kill()
    server.start()
    assert "event_id" in alice.outcome(due)
    assert "event_id" not in alice.outcome(cancelled)
    assert alice.future(kept)["delayed_since_ts"] == restarted_at
    assert bodies(alice, room_id) == ["sent", "due"]


def test_a_full_disk_ends_the_server_and_loses_nothing_that_was_acknowledged(
    server: ServerProcess, cast: Cast
) -> None:
    """No file of the process may grow any more, which to SQLite is a disk that takes nothing."""
    server.start()
    users, room_id = crowd(server, cast)
    process = server.process
    assert process is not None
    grown = max(file.stat().st_size for file in server.data_dir.iterdir()) + 300_000
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (grown, grown))
    senders = Senders(users, room_id)
    assert process.wait(STOP_WITHIN_S) == 70
    senders.finish()
    assert len(senders.acknowledged) > 10
    assert "nothing that was acknowledged is lost" in server.log_file.read_text()
    server.start()
    said = bodies(users[0], room_id)
    assert senders.acknowledged.keys() <= set(said)
    assert sorted(set(said)) == sorted(said)
    users[0].send(room_id, "there is room again")


def test_logs_at_their_fullest_hold_no_secrets(server: ServerProcess, cast: Cast) -> None:
    server.settings = ["logging.level=debug"]
    server.start()
    alice = cast.user(server, "alice")
    room_id = alice.create("12")
    alice.send(room_id, "a private body")
    delay_id = alice.schedule(room_id, "m.room.message", {"msgtype": "m.text", "body": "later"}, 3_600_000)
    alice.manage(delay_id, "restart")
    alice.delay(room_id, "m.room.message", {"msgtype": "m.text", "body": "later"}, 3_600_000, None)
    alice.manage_delayed(delay_id, "send")
    with pytest.raises(RequestFailed):
        alice.request("POST", "/_matrix/client/v3/login", {"type": "m.login.password", "password": "guessed"})
    end(server, signal.SIGTERM)
    log = server.log_file.read_text()
    for secret in (alice.token, delay_id, "a private body", "correct horse", "guessed"):
        assert secret not in log
