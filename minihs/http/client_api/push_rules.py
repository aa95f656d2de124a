"""Push rules over HTTP. Source: client-server API, "Push Rules: API"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.homeserver.accounts.push_rules import PushRules as PushRuleService
from minihs.homeserver.errors import InvalidParam
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Handler, Route

GLOBAL = "/_matrix/client/v3/pushrules/global"


class RuleBody(msgspec.Struct, kw_only=True):
    """The body of `PUT /pushrules/global/{kind}/{ruleId}`."""

    actions: list[Any]
    conditions: list[dict[str, Any]] | None = None
    pattern: str | None = None


class EnabledBody(msgspec.Struct):
    """The body of `PUT …/enabled`."""

    enabled: bool


class ActionsBody(msgspec.Struct):
    """The body of `PUT …/actions`."""

    actions: list[Any]


class PushRules:
    """Reading and changing one's rules."""

    def __init__(self, push_rules: PushRuleService) -> None:
        self._push_rules = push_rules

    def routes(self) -> list[Route]:
        rule = GLOBAL + "/{kind}/{rule_id}"
        return [
            # The specification writes these two with a slash at the end, some clients without.
            self._read("/_matrix/client/v3/pushrules/", self.all_rules),
            self._read("/_matrix/client/v3/pushrules", self.all_rules),
            self._read(GLOBAL + "/", self.global_rules),
            self._read(GLOBAL, self.global_rules),
            self._read(rule, self.rule),
            self._read(rule + "/enabled", self.enabled),
            self._read(rule + "/actions", self.actions),
            self._write("PUT", rule, self.put, RuleBody),
            self._write("DELETE", rule, self.remove, None),
            self._write("PUT", rule + "/enabled", self.set_enabled, EnabledBody),
            self._write("PUT", rule + "/actions", self.set_actions, ActionsBody),
        ]

    def _read(self, path: str, handler: Handler) -> Route:
        return Route(method="GET", path=path, access=Access.USER, handler=handler)

    def _write(self, method: str, path: str, handler: Handler, body: Any) -> Route:
        return Route(
            method=method,
            path=path,
            access=Access.MEMBER,
            handler=handler,
            body=body,
            limit="account_data",
            while_suspended=True,
        )

    async def all_rules(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/pushrules/"""
        return {"global": await self._push_rules.ruleset(request.user.user_id)}

    async def global_rules(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/pushrules/global/"""
        return dict(await self._push_rules.ruleset(request.user.user_id))

    async def rule(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}"""
        return await self._push_rules.rule(request.user.user_id, *_named(request))

    async def enabled(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled"""
        return {"enabled": (await self.rule(request))["enabled"]}

    async def actions(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions"""
        return {"actions": (await self.rule(request))["actions"]}

    async def put(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}"""
        body: RuleBody = request.body
        before, after = request.query.one("before"), request.query.one("after")
        if before == "" or after == "":
            raise InvalidParam("`before` and `after` name a rule.")
        await self._push_rules.put(
            request.user.user_id,
            *_named(request),
            actions=body.actions,
            conditions=body.conditions,
            pattern=body.pattern,
            before=before,
            after=after,
        )
        return {}

    async def remove(self, request: ApiRequest) -> dict[str, Any]:
        """DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}"""
        await self._push_rules.remove(request.user.user_id, *_named(request))
        return {}

    async def set_enabled(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled"""
        await self._push_rules.set_enabled(request.user.user_id, *_named(request), request.body.enabled)
        return {}

    async def set_actions(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions"""
        await self._push_rules.set_actions(request.user.user_id, *_named(request), request.body.actions)
        return {}


def _named(request: ApiRequest) -> tuple[str, str]:
    kind, rule_id = request.args["kind"], request.args["rule_id"]
    if not rule_id:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such push rule.")
    return kind, rule_id
