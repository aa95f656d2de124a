"""Push rules: the specification's default set, and changing one's own.

Nothing evaluates them here: no pusher exists, but clients show notifications by these rules themselves.
Source: client-server API, "Push Rules", "Predefined Rules". They are kept as account data `m.push_rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.accounts.account_data import AccountData
from minihs.homeserver.errors import HomeserverError, InvalidParam, NotFound

PUSH_RULES = "m.push_rules"
KINDS = ("override", "content", "room", "sender", "underride")
"""In order of priority."""
MAX_RULES = 1000
MAX_RULE_ID_BYTES = 255

Rule = dict[str, Any]
Ruleset = dict[str, list[Rule]]

_SOUND = {"set_tweak": "sound", "value": "default"}
_RING = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT = {"set_tweak": "highlight"}
_TWO_MEMBERS = {"kind": "room_member_count", "is": "2"}


class BadRulePlace(HomeserverError):
    """`before` or `after` names no rule of the user's own (400 `M_UNKNOWN`)."""


def _match(key: str, pattern: str) -> Rule:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _default(name: str, conditions: list[Rule], actions: list[Any], *, enabled: bool = True) -> Rule:
    return {
        "rule_id": f".m.rule.{name}",
        "default": True,
        "enabled": enabled,
        "conditions": conditions,
        "actions": actions,
    }


def default_push_rules(user_id: UserID) -> dict[str, Ruleset]:
    """The content of `m.push_rules` for a new account."""
    member = _match("type", "m.room.member")
    for_me = [member, _match("content.membership", "invite"), _match("state_key", user_id)]
    mentions_me: Rule = {
        "kind": "event_property_contains",
        "key": r"content.m\.mentions.user_ids",
        "value": user_id,
    }
    mentions_all: list[Rule] = [
        {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
        {"kind": "sender_notification_permission", "key": "room"},
    ]
    is_edit = {"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"}
    override = [
        _default("master", [], [], enabled=False),
        _default("suppress_notices", [_match("content.msgtype", "m.notice")], []),
        _default("invite_for_me", for_me, ["notify", _SOUND]),
        _default("member_event", [member], []),
        _default("is_user_mention", [mentions_me], ["notify", _SOUND, _HIGHLIGHT]),
        _default("is_room_mention", mentions_all, ["notify", _HIGHLIGHT]),
        _default(
            "tombstone",
            [_match("type", "m.room.tombstone"), _match("state_key", "")],
            ["notify", _HIGHLIGHT],
        ),
        _default("reaction", [_match("type", "m.reaction")], []),
        _default("room.server_acl", [_match("type", "m.room.server_acl"), _match("state_key", "")], []),
        _default("suppress_edits", [is_edit], []),
    ]
    message, encrypted = _match("type", "m.room.message"), _match("type", "m.room.encrypted")
    underride = [
        _default("call", [_match("type", "m.call.invite")], ["notify", _RING]),
        _default("encrypted_room_one_to_one", [_TWO_MEMBERS, encrypted], ["notify", _SOUND]),
        _default("room_one_to_one", [_TWO_MEMBERS, message], ["notify", _SOUND]),
        _default("message", [message], ["notify"]),
        _default("encrypted", [encrypted], ["notify"]),
    ]
    return {"global": {"override": override, "content": [], "room": [], "sender": [], "underride": underride}}


def _twin(rule: Rule, kind: str, old: RoomID, new: RoomID) -> Rule | None:
    """The same rule about another room; None when it is not about the old one."""
    if kind == "room":
        return {**rule, "rule_id": new} if rule["rule_id"] == old else None
    about_old = {"kind": "event_match", "key": "room_id", "pattern": old}
    conditions = rule.get("conditions", [])
    if about_old not in conditions:
        return None
    names_room = old in rule["rule_id"]
    return {
        **rule,
        "rule_id": rule["rule_id"].replace(old, new) if names_room else f"{rule['rule_id']}_{new}",
        "conditions": [{**about_old, "pattern": new} if each == about_old else each for each in conditions],
    }


class PushRules:
    """Reads and changes the rules of one user at a time."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    async def ruleset(self, user_id: UserID) -> Ruleset:
        """All rules by kind, each kind in order of priority."""
        content = await self._account_data.maybe(user_id, None, PUSH_RULES)
        ruleset: Ruleset = (content or default_push_rules(user_id))["global"]
        return ruleset

    async def rule(self, user_id: UserID, kind: str, rule_id: str) -> Rule:
        """One rule; NotFound, or InvalidParam for an unknown kind."""
        return _find(await self.ruleset(user_id), kind, rule_id)

    async def put(
        self,
        user_id: UserID,
        kind: str,
        rule_id: str,
        *,
        actions: list[Any],
        conditions: list[Rule] | None = None,
        pattern: str | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Add a rule of the user's own, or change it; it comes first of its kind unless it is told where.

        Raises InvalidParam, and BadRulePlace when `before` or `after` is no rule of theirs.
        """
        _check_new_rule(kind, rule_id, pattern)
        check_actions(actions)
        parts: Rule = {"rule_id": rule_id, "default": False, "enabled": True, "actions": actions}
        if kind in {"override", "underride"}:
            parts["conditions"] = _checked_conditions(conditions or [])
        if kind == "content":
            parts["pattern"] = pattern

        def change(ruleset: Ruleset) -> None:
            rules = ruleset[kind]
            old = next((rule for rule in rules if rule["rule_id"] == rule_id), None)
            rule = parts if old is None else {**parts, "enabled": old["enabled"]}
            if old is not None and before is None and after is None:
                rules[rules.index(old)] = rule
                return
            if old is None and len(rules) >= MAX_RULES:
                raise InvalidParam(f"There can be at most {MAX_RULES} rules of a kind.")
            others = [other for other in rules if other is not old]
            others.insert(_place(others, before, after), rule)
            ruleset[kind] = others

        await self._change(user_id, change)

    async def copy_rules_of_room(self, user_id: UserID, old: RoomID, new: RoomID) -> None:
        """Give the user's own rules about one room a twin about another: those of the kind `room`, and those
        with a condition that names the room (a room upgrade)."""

        def work(content: dict[str, Any] | None) -> dict[str, Any] | None:
            ruleset: Ruleset = {} if content is None else content["global"]
            copies = [
                (kind, twin)
                for kind in ("override", "room", "underride")
                for rule in ruleset.get(kind, [])
                if not rule["default"] and (twin := _twin(rule, kind, old, new)) is not None
            ]
            added = False
            for kind, twin in copies:
                rules = ruleset[kind]
                known = any(rule["rule_id"] == twin["rule_id"] for rule in rules)
                if not known and len(rules) < MAX_RULES:
                    rules.insert(0, twin)
                    added = True
            return content if added else None

        await self._account_data.change(user_id, None, PUSH_RULES, work)

    async def remove(self, user_id: UserID, kind: str, rule_id: str) -> None:
        """Remove a rule of the user's own; NotFound, InvalidParam for a default rule."""

        def change(ruleset: Ruleset) -> None:
            rule = _find(ruleset, kind, rule_id)
            if rule["default"]:
                raise InvalidParam("Default rules cannot be removed, only disabled.")
            ruleset[kind].remove(rule)

        await self._change(user_id, change)

    async def set_enabled(self, user_id: UserID, kind: str, rule_id: str, enabled: bool) -> None:
        """Turn a rule on or off; NotFound."""
        await self._change(user_id, lambda ruleset: _find(ruleset, kind, rule_id).update(enabled=enabled))

    async def set_actions(self, user_id: UserID, kind: str, rule_id: str, actions: list[Any]) -> None:
        """Give a rule other actions; NotFound, InvalidParam."""
        check_actions(actions)
        await self._change(user_id, lambda ruleset: _find(ruleset, kind, rule_id).update(actions=actions))

    async def _change(self, user_id: UserID, change: Callable[[Ruleset], None]) -> None:
        def work(content: dict[str, Any] | None) -> dict[str, Any]:
            content = content or default_push_rules(user_id)
            change(content["global"])
            return content

        await self._account_data.change(user_id, None, PUSH_RULES, work)


def check_actions(actions: list[Any]) -> None:
    """InvalidParam unless each action is a string or sets a tweak."""
    for action in actions:
        sets_tweak = isinstance(action, dict) and isinstance(action.get("set_tweak"), str)
        if not isinstance(action, str) and not sets_tweak:
            raise InvalidParam('An action is a string, or an object with a `set_tweak` such as "sound".')


def _find(ruleset: Ruleset, kind: str, rule_id: str) -> Rule:
    if kind not in KINDS:
        raise InvalidParam(f"The kind of a push rule is one of: {', '.join(KINDS)}.")
    for rule in ruleset[kind]:
        if rule["rule_id"] == rule_id:
            return rule
    raise NotFound("There is no such push rule.")


def _check_new_rule(kind: str, rule_id: str, pattern: str | None) -> None:
    if kind not in KINDS:
        raise InvalidParam(f"The kind of a push rule is one of: {', '.join(KINDS)}.")
    if rule_id.startswith("."):
        raise InvalidParam("Rule IDs that start with a dot belong to the default rules.")
    if not rule_id or "/" in rule_id or "\\" in rule_id or len(rule_id.encode("utf-8")) > MAX_RULE_ID_BYTES:
        raise InvalidParam(f"A rule ID has 1 to {MAX_RULE_ID_BYTES} bytes and no slash or backslash.")
    if kind == "content" and pattern is None:
        raise InvalidParam("A rule of the kind `content` needs a `pattern`.")


def _checked_conditions(conditions: list[Rule]) -> list[Rule]:
    for condition in conditions:
        if not isinstance(condition.get("kind"), str):
            raise InvalidParam("A condition needs a `kind`.")
    return conditions


def _place(rules: list[Rule], before: str | None, after: str | None) -> int:
    """Where a rule goes among the others of its kind."""
    beside = before if before is not None else after
    if beside is None:
        # First of the user's own; only the master rule stands before those.
        return next((index + 1 for index, rule in enumerate(rules) if rule["rule_id"] == ".m.rule.master"), 0)
    for index, rule in enumerate(rules):
        if rule["rule_id"] == beside and not rule["default"]:
            return index if before is not None else index + 1
    raise BadRulePlace(f"There is no rule of your own called {beside!r} to put it beside.")
