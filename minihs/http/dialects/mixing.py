"""Requests that mean two dialects at once, or ask for a delay where nothing is delayed: all are refused.

Who answers what is in `table`. Futures specification, 2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from minihs.http.dialects.base import Endpoint
from minihs.http.dialects.batch_body import is_batch
from minihs.http.dialects.spelling import BATCH_TYPE, PREFIX, WILL_EXPIRE
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest, Query, Reply
from minihs.http.routing import Handler, Route

PARAMETERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "delay": ("delay-query",),
        "future_timeout": ("tokens-on-send", "future-id"),
        "future_group_id": ("tokens-on-send",),
        "parent_future_id": ("future-id",),
    }
)
"""Whose a query parameter of `/send` and `/state` is, written plainly or with `PREFIX`. When all of these are
off the request is refused: an ignored delay would send a call's "leave" when the call begins."""

FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **PARAMETERS,
        "expire_refresh_token": ("will-expire",),
        "future_token": ("batch",),
        "future_id": ("future-id",),
        "delay_ms": ("merged",),
    }
)
"""Whose a key in the body of a dialect's own endpoint is; those of a batch are found by their spelling."""


def check_content(content: Mapping[str, Any], event_type: str = "") -> None:
    """Refuse, on a dialect's own path, an event which another dialect would send in parts."""
    if type(content.get(WILL_EXPIRE)) is int:
        raise _another(f"An integer `{WILL_EXPIRE}`", ("will-expire",))
    if event_type == BATCH_TYPE and is_batch(content):
        raise _another("A batch of events", ("batch",))


def check_fields(body: Mapping[str, Any], dialect: str, own: Collection[str] = ()) -> None:
    """Refuse keys of other dialects in the body of one dialect's own endpoint; `own` ones are its fields."""
    for key, value in body.items():
        if key in own:
            continue
        owners = FIELDS.get(key.removeprefix(PREFIX), ())
        if not owners and is_batch((key,)):
            owners = ("batch",)
        if key == WILL_EXPIRE and type(value) is int:
            owners = ("will-expire",)
        if owners and dialect not in owners:
            raise _another(f"`{key}`", owners)


def check_parameter(parameter: str, on: frozenset[str], known: frozenset[str]) -> None:
    """Refuse a query parameter of an ordinary send whose dialects are all off; `known` are those of the
    dialects that are on."""
    owners = PARAMETERS.get(parameter.removeprefix(PREFIX))
    if owners is None:
        if parameter.startswith(PREFIX) and parameter not in known:
            raise _nobodys(parameter)
    elif on.isdisjoint(owners):
        raise off(f"the query parameter `{parameter}`", owners)


def guarded(endpoint: Endpoint, dialect: str) -> Handler:
    """The handler of a dialect's own endpoint, behind a look for parameters and keys of other dialects."""
    handler, own = endpoint.handler, endpoint.parameters
    fields = _fields(endpoint.body)

    @wraps(handler)
    def handle(request: ApiRequest) -> Awaitable[Reply | dict[str, Any]]:
        _check_query(request.query, own)
        if fields and request.raw_body:
            check_fields(request.json, dialect, fields)
        return handler(request)

    return handle


class Undelayed:
    """A chapter of endpoints that act at once: what asks them for a delay is refused."""

    def __init__(self, chapter: Any) -> None:
        self._chapter = chapter

    def routes(self) -> list[Route]:
        """The routes of the chapter."""
        return [replace(route, handler=_at_once(route.handler)) for route in self._chapter.routes()]


def off(what: str, owners: Iterable[str]) -> MatrixError:
    """The refusal of what belongs to dialects that are off."""
    return _refusal(
        f"{what[0].upper()}{what[1:]} belongs to the dialect {' or '.join(owners)} of delayed events, "
        "which is off on this server. Nothing was sent or scheduled."
    )


def _fields(body: Any) -> frozenset[str]:
    """The keys that a body is read for; none where its handler reads it by itself."""
    if body is None:
        return frozenset()
    return frozenset(field.encode_name for field in msgspec.structs.fields(body))


def _at_once(handler: Handler) -> Handler:
    @wraps(handler)
    def handle(request: ApiRequest) -> Awaitable[Reply | dict[str, Any]]:
        for parameter in request.query.names():
            if _is_of_futures(parameter):
                raise _refusal(
                    f"This endpoint acts at once and takes no `{parameter}`: delay the event itself, by an "
                    "endpoint that sends events. Nothing was done."
                )
        return handler(request)

    return handle


def _check_query(query: Query, own: Collection[str]) -> None:
    for parameter in query.names():
        if parameter not in own and _is_of_futures(parameter):
            owners = PARAMETERS.get(parameter.removeprefix(PREFIX))
            if owners is None:
                raise _nobodys(parameter)
            raise _another(f"The query parameter `{parameter}`", owners)


def _is_of_futures(parameter: str) -> bool:
    return parameter in PARAMETERS or parameter.startswith(PREFIX)


def _another(what: str, owners: Iterable[str]) -> MatrixError:
    return _refusal(f"{what} belongs to another dialect of delayed events, {' or '.join(owners)}: use one.")


def _nobodys(parameter: str) -> MatrixError:
    return _refusal(f"No generation of delayed events has a parameter `{parameter}`.")


def _refusal(sentence: str) -> MatrixError:
    return MatrixError(400, "M_INVALID_PARAM", sentence)
