"""Web sessions: a page logs in with a credential once, and then a cookie that no script can read stands for it.

What was opened can be ended, on the server and for every worker. Requests that a cookie identifies, and that change something,
have to show that they come from a page of our own.

Source: OWASP ASVS 5.0, 3.3, 3.5 and 7; RFC 6265bis (cookies); W3C Fetch Metadata.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
from collections.abc import Mapping, Sequence  # noqa: TC003 - pydantic resolves annotations
from secrets import token_bytes
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from prodkit.core.exceptions import InstallationError, SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings, HealthCheck, Parts
from prodkit.core.identity import Authenticator, Revalidates
from prodkit.stores.memory_sessions import MemorySessionStore
from prodkit.stores.sessions import SessionStore
from prodkit.web_sessions.api import OpenSession, session_routes
from prodkit.web_sessions.authenticator import CSRF_FAILED, CookieSession
from prodkit.web_sessions.cookie import KEY_ID, SHORTEST_SECRET_BYTES, Cookie, Seals
from prodkit.web_sessions.sessions import Session, SessionReference, Sessions

if TYPE_CHECKING:
    from prodkit.core.features import Kit

__all__ = [
    "CSRF_FAILED",
    "CookieSession",
    "OpenSession",
    "Session",
    "SessionReference",
    "Sessions",
    "WebSessions",
    "WebSessionsSettings",
]

LOGGER = logging.getLogger("prodkit.web_sessions")

SameSite = Literal["strict", "lax"]


class WebSessionsSettings(FeatureSettings):
    """Settings of `WebSessions`; environment prefix `PRODKIT_WEB_SESSIONS__`."""

    secrets: Annotated[
        dict[str, SecretStr],
        Field(
            repr=False,
            description="What cookies are signed with, as JSON: a name of your choice to a secret of at least 32 bytes, "
            '`{"2026-11": "..."}`. The first one signs, all of them are accepted: to rotate, put a new one in front, and remove '
            "the old one when lifetime_seconds are over. Default none: there are no sessions.",
        ),
    ] = Field(default_factory=dict)
    cookie_name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_\-]{1,64}$",
            description="The name of the cookie, to which `__Host-` is added where secure is true. Default prodkit_session: "
            "Flask and Starlette call theirs session, and on one machine all ports share their cookies.",
        ),
    ] = "prodkit_session"
    lifetime_seconds: Annotated[
        float,
        Field(
            ge=300,
            le=2_592_000,
            allow_inf_nan=False,
            description="When one has to log in again, however busy one is; earlier where the credential expires earlier. "
            "Default 43200, 12 hours: once a working day. At most 30 days.",
        ),
    ] = 43_200.0
    idle_seconds: Annotated[
        float,
        Field(
            ge=300,
            le=2_592_000,
            allow_inf_nan=False,
            description="When an unused session ends. Default 3600, 1 hour. At least 300, because a use is written down once a "
            "minute.",
        ),
    ] = 3600.0
    max_sessions: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="How many sessions of one caller may be open; at the next login the oldest ends. Default 100: a team "
            "that shares a key.",
        ),
    ] = 100
    same_site: Annotated[
        SameSite,
        Field(
            description="`strict` (default): the cookie comes with no request that another site caused. `lax`: it comes with "
            "links from elsewhere, which pages need that are made on the server for who is logged in. Either way, changes need "
            "the token.",
        ),
    ] = "strict"
    secure: Annotated[
        bool,
        Field(
            description="Whether the cookie is sent over HTTPS only, and bound to this host. Default true; false only for "
            "development over plain HTTP.",
        ),
    ] = True
    path: Annotated[
        str,
        Field(
            pattern=r"^(/[A-Za-z0-9._~\-]{1,64}){1,8}$",
            description="Where one logs in and out. Default /session.",
        ),
    ] = "/session"

    @field_validator("secrets")
    @classmethod
    def _can_be_used(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            if re.fullmatch(KEY_ID, name) is None:
                message = (
                    "the name of a secret is not 1 to 32 characters of [A-Za-z0-9_-] | Call it 2026-11, say."
                )
                raise ValueError(message)
            text = secret.get_secret_value()
            # A long word that repeats itself is as good as a short one.
            if len(text.encode("utf-8", "replace")) < SHORTEST_SECRET_BYTES or len(set(text)) < 10:
                message = (
                    f"the secret {name} is shorter than {SHORTEST_SECRET_BYTES} bytes, or repeats few characters | "
                    'Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
                )
                raise ValueError(message)
        if len({secret.get_secret_value() for secret in value.values()}) < len(value):
            message = "two names have the same secret | Removing one of them would change nothing: give each its own."
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _idle_within_lifetime(self) -> WebSessionsSettings:
        if self.idle_seconds > self.lifetime_seconds:
            message = "idle_seconds is longer than lifetime_seconds, so it would never matter | Make it shorter, or the same."
            raise ValueError(message)
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is a secret to sign cookies with."""
        return bool(self.secrets)


class WebSessions:
    """The feature `web_sessions`; the keyword arguments are the settings.

    The store is the `SessionStore` that a feature provides, else this process's memory.

    Raises:
        SettingsError: a setting is impossible, or there is no secret.
    """

    name = "web_sessions"

    def __init__(
        self,
        secrets: Mapping[str, str | SecretStr] | None = None,
        *,
        cookie_name: str = "prodkit_session",
        lifetime_seconds: float = 43_200.0,
        idle_seconds: float = 3600.0,
        max_sessions: int = 100,
        same_site: SameSite = "strict",
        secure: bool = True,
        path: str = "/session",
    ) -> None:
        self.settings = WebSessionsSettings.of(
            "WebSessions",
            secrets=dict(secrets or {}),
            cookie_name=cookie_name,
            lifetime_seconds=lifetime_seconds,
            idle_seconds=idle_seconds,
            max_sessions=max_sessions,
            same_site=same_site,
            secure=secure,
            path=path,
        )
        if not self.settings.is_on:
            raise SettingsError(
                [
                    SettingsFault(
                        "PRODKIT_WEB_SESSIONS__SECRETS",
                        "there is no secret to sign cookies with.",
                        "Set one.",
                    )
                ]
            )
        keys = {
            name: secret.get_secret_value().encode("utf-8", "replace")
            for name, secret in self.settings.secrets.items()
        }
        self._cookie = Cookie(cookie_name, secure=secure, same_site=same_site)
        self._seals = Seals(keys, self._cookie.name, token_bytes)
        self.sessions = Sessions(
            lifetime_seconds=lifetime_seconds, idle_seconds=idle_seconds, most=max_sessions
        )
        self.authenticator = CookieSession(self._cookie, self._seals, self.sessions)
        self.provides: Sequence[object] = (self.authenticator,)

    @classmethod
    def from_settings(cls, section: WebSessionsSettings) -> WebSessions:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """The routes of logging in and out, and the health of the store.

        Raises:
            InstallationError: there is no other authenticator, so nobody could ever log in.
        """
        others = [one for one in kit.all(Authenticator) if one is not self.authenticator]  # type: ignore[type-abstract] # by protocol
        if not others:
            message = (
                "web_sessions is on, and nothing identifies a caller who wants to log in: configure API keys, JWT, or give "
                "Authentication(...) an authenticator"
            )
            raise InstallationError(message)

        def revalidators() -> Sequence[Revalidates]:
            return [one for one in kit.all(Revalidates) if one is not self.authenticator]  # type: ignore[type-abstract] # by protocol

        store = kit.one(SessionStore)  # type: ignore[type-abstract] # looked for by protocol
        if store is None:
            store = MemorySessionStore()
            kit.provide([store])
        self.sessions.bind(store, kit.clock, revalidators)
        routes = session_routes(
            self.settings.path, self.sessions, self.authenticator, self._cookie, self._seals
        )
        if isinstance(store, MemorySessionStore):
            _warn_of_workers()
            return Parts(routes=routes)
        # Not critical: who calls with another credential is served without it.
        check = HealthCheck(name="session_store", check=store.check, critical=False)
        return Parts(routes=routes, health_checks=[check])


def _warn_of_workers() -> None:
    workers = os.environ.get("WEB_CONCURRENCY", "")
    is_one_of_several = workers.isascii() and workers.isdigit() and int(workers) > 1
    # Started by another process of Python, as by `uvicorn --workers`, which tells its workers nothing else.
    if is_one_of_several or multiprocessing.parent_process() is not None:
        LOGGER.warning(
            "sessions are kept in memory, by each worker for itself: where there are several, who logged in at one is unknown to "
            "the others, and goes on at that one after logging out at another. Set PRODKIT_STORE=sqlite:///path/to/file.db"
        )
