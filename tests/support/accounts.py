"""A whole account API in memory: real store and services, real HTTP, virtual time, cheap passwords."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from minihs.events.ids import ServerName, UserID
from minihs.homeserver.accounts.account_data import AccountData
from minihs.homeserver.accounts.devices import Devices
from minihs.homeserver.accounts.filters import Filters
from minihs.homeserver.accounts.passwords import PasswordCost, Passwords
from minihs.homeserver.accounts.profiles import Profiles
from minihs.homeserver.accounts.push_rules import PushRules
from minihs.homeserver.accounts.sessions import Sessions
from minihs.homeserver.accounts.users import Users
from minihs.homeserver.errors import NotFound
from minihs.homeserver.history.event_filter import parse_filter
from minihs.http.client_api import (
    account,
    account_data,
    admin,
    capabilities,
    devices,
    filters,
    login,
    none,
    profile,
    push_rules,
    registration,
    versions,
    well_known,
)
from minihs.http.client_api.interactive_auth import InteractiveAuth
from minihs.http.client_api.password_check import PasswordCheck
from minihs.http.limits import RateLimiter
from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy
from minihs.platform.workers import InlineWorkers
from minihs.store.access_tokens import AccessTokenStore
from minihs.store.account_data import AccountDataStore
from minihs.store.database import open_database
from minihs.store.devices import DeviceStore
from minihs.store.filters import FilterStore
from minihs.store.profiles import ProfileStore
from minihs.store.streams import Stream
from minihs.store.users import UserStore
from minihs.store.writer import Writer
from tests.support.http import HttpDriver, Response

CHEAP = PasswordCost(passes=1, memory_kib=8)
GOOD_PASSWORD = "correct horse"
SERVER = ServerName("hs.test")


class FakeRemoteProfiles:
    """Profiles of other servers, from a table."""

    def __init__(self) -> None:
        self.profiles: dict[str, dict[str, Any]] = {}

    async def profile(self, user_id: UserID, field: str | None = None) -> Mapping[str, Any]:
        if user_id not in self.profiles:
            raise NotFound("There is no such user.")
        return self.profiles[user_id]


class AccountsWorld:
    """Everything about accounts, and a client."""

    def __init__(
        self,
        *,
        open_to_all: bool = True,
        guests: bool = True,
        rate_limits: bool = False,
        support: Mapping[str, Any] | None = None,
        client_base_url: str | None = None,
        delegated_server: str | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.entropy = SeededEntropy(1)
        self.database = open_database()
        reader = self.database.reader
        self.writer = Writer(
            self.database.writing, clock=self.clock, workers=InlineWorkers(), on_fatal=self._fatal
        )
        self.user_store = UserStore(reader)
        self.device_store = DeviceStore(reader)
        profile_store = ProfileStore(reader)
        self.account_data_store = AccountDataStore(reader)
        self.sessions = Sessions(
            AccessTokenStore(reader), self.device_store, self.writer, clock=self.clock, entropy=self.entropy
        )
        self.account_data = AccountData(self.account_data_store, self.writer, Stream())
        self.users = Users(
            self.user_store,
            self.device_store,
            profile_store,
            self.writer,
            server_name=SERVER,
            clock=self.clock,
            entropy=self.entropy,
            passwords=Passwords(InlineWorkers(), self.entropy, CHEAP),
            sessions=self.sessions,
            account_data=self.account_data,
        )
        self.remote_profiles = FakeRemoteProfiles()
        self.propagated: list[UserID] = []
        self.profiles = Profiles(
            profile_store,
            self.user_store,
            self.writer,
            server_name=SERVER,
            remote=self.remote_profiles,
            propagate=self._propagate,
        )
        self.devices = Devices(self.device_store, self.writer, self.sessions)
        self.push_rules = PushRules(self.account_data)
        self.filters = Filters(FilterStore(reader), self.writer, parse_filter)
        self.limiter = RateLimiter(self.clock, enabled=rate_limits)
        self.unstable_features = {"org.example.draft": True}
        self.driver = HttpDriver(
            ApiFactory(
                Router(self._routes(open_to_all, guests, support or {}, client_base_url, delegated_server)),
                clock=self.clock,
                limiter=self.limiter,
                tokens=self.sessions,
            ),
            self.clock,
        )

    def _routes(
        self,
        open_to_all: bool,
        guests: bool,
        support: Mapping[str, Any],
        client_base_url: str | None,
        delegated_server: str | None,
    ) -> Any:
        discovery = well_known.WellKnownSettings(
            client_base_url=client_base_url, server=delegated_server, support=support
        )
        check = PasswordCheck(self.users, self.limiter)
        interactive = InteractiveAuth(check, clock=self.clock, entropy=self.entropy)
        chapters: list[Any] = [
            versions.Versions(self.unstable_features),
            well_known.WellKnown(discovery),
            login.Login(check, self.sessions, discovery),
            registration.Registration(
                self.users, self.sessions, interactive, open_to_all=open_to_all, guests=guests
            ),
            account.Account(self.users, self.sessions, interactive),
            devices.Devices(self.devices, interactive),
            profile.Profile(self.profiles),
            capabilities.Capabilities("12", [lambda: {"org.example.extra": {"limit": 3}}]),
            filters.Filters(self.filters),
            account_data.AccountData(self.account_data),
            push_rules.PushRules(self.push_rules),
            none.AnsweredAsNone(),
            admin.Admin(self.users, self.devices),
        ]
        return [route for chapter in chapters for route in chapter.routes()]

    def _fatal(self, sentence: str) -> None:
        raise AssertionError(sentence)

    async def _propagate(self, user_id: UserID) -> None:
        self.propagated.append(user_id)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine, turning the clock as often as it needs."""
        results: list[Any] = []
        done = Deferred.fromCoroutine(work)
        done.addBoth(results.append)
        for _ in range(50):
            if results:
                break
            self.clock.advance(0)
        assert results, "it waits for something that does not happen"
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def request(self, method: str, path: str, **details: Any) -> Response:
        """A request below /_matrix/client unless the path says otherwise."""
        if not path.startswith(("/_matrix", "/.well-known")):
            path = f"/_matrix/client/v3{path}"
        return self.driver.request(method, path, **details)

    def register(self, name: str, password: str = GOOD_PASSWORD, **details: Any) -> dict[str, Any]:
        """A new account, over HTTP; what the server replied."""
        body = {"auth": {"type": "m.login.dummy"}, "username": name, "password": password, **details}
        response = self.request("POST", "/register", json=body)
        assert response.status == 200, response
        reply: dict[str, Any] = response.json
        return reply

    def login(self, name: str, password: str = GOOD_PASSWORD, **details: Any) -> Response:
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": password,
            **details,
        }
        return self.request("POST", "/login", json=body)

    def password_auth(self, name: str, password: str = GOOD_PASSWORD, **details: Any) -> dict[str, Any]:
        """What proves a user in interactive authentication."""
        return {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": password,
            **details,
        }
