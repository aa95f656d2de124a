"""Answering what schedules: the same reply for a repeat, stored with what it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from minihs.homeserver.futures.scheduling import Recorder, Scheduled
from minihs.homeserver.transactions import Record, TransactionKey, Transactions
from minihs.http.dialects.base import OrdinarySend
from minihs.http.request import ApiRequest
from minihs.store.writer import Batch

Schedule = Callable[[Recorder | None], Awaitable[Scheduled]]
Reply = Callable[[Scheduled], dict[str, Any]]


async def answer_once(
    transactions: Transactions, key: TransactionKey | None, schedule: Schedule, reply: Reply
) -> dict[str, Any]:
    """`reply` to what `schedule` does, once for a transaction; without a key, each time."""
    if key is None:
        return reply(await schedule(None))

    async def work(record: Record) -> dict[str, Any]:
        def also(batch: Batch, scheduled: Scheduled) -> None:
            record(batch, reply(scheduled))

        return reply(await schedule(also))

    return await transactions.once(key, work)


def transaction(request: ApiRequest, scope: str, txn_id: str) -> TransactionKey:
    """The transaction of a request; `scope` is its path without what differs between spellings."""
    user = request.user
    return TransactionKey(user.user_id, user.device_id, scope, txn_id)


def send_transaction(send: OrdinarySend) -> TransactionKey | None:
    """The transaction of an ordinary send, the same as without a future; None for a state event."""
    if send.txn_id is None:
        return None
    return transaction(send.request, f"rooms/{send.room_id}/send/{send.type}", send.txn_id)
