"""The standard set: every feature a service should have, as the settings say, in the order that protects it."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prodkit.api_keys import APIKeys
from prodkit.authentication import Authentication
from prodkit.budgets import Budgets
from prodkit.compression import Compression
from prodkit.core.assembly import assemble
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.core.features import Parts
from prodkit.correlation import Correlation
from prodkit.cors import CORS
from prodkit.error_reporting import ErrorReporting
from prodkit.fetch_metadata import FetchMetadata
from prodkit.health import Health
from prodkit.hosts import Hosts
from prodkit.installation import install, refuse_late, refuse_others
from prodkit.jwt import JWT
from prodkit.load_shedding import LoadShedding
from prodkit.logs import Logs
from prodkit.metering import Metering
from prodkit.metrics import Metrics
from prodkit.operations import Operations
from prodkit.proxies import Proxies
from prodkit.rate_limiting import RateLimiting
from prodkit.request_limits import RequestLimits
from prodkit.security_headers import SecurityHeaders
from prodkit.settings import OPEN_COOKIES, OPEN_WEBHOOKS, Settings
from prodkit.shared_store import SharedStore
from prodkit.timeouts import Timeouts
from prodkit.web_sessions import WebSessions
from prodkit.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from fastapi import FastAPI

    from prodkit.core.clock import Clock
    from prodkit.core.features import Feature, Kit

__all__ = ["harden"]

LOGGER = logging.getLogger("prodkit")


def harden(
    app: FastAPI, *features: Feature, settings: Settings | None = None, clock: Clock | None = None
) -> Kit:
    """Install the standard features, as *settings* or the `PRODKIT_*` environment say, and return what is installed.

    A feature given here takes the place of the standard one of its name; one with a new name comes in addition, and
    stands after the standard ones within its layer.

    Args:
        app: the application, changed in place; call this where it is built.
        features: replacements and additions.
        settings: in place of what the environment says.
        clock: the time every feature uses; for tests.

    Raises:
        SettingsError: a setting is wrong, unknown or unsafe; every fault is listed at once.
        InstallationError: an argument is something else than it should be, two features of one name, a second
            installation, or one after the first request.
    """
    refuse_others(app, features)
    _refuse_other_settings(settings)
    refuse_late(app)
    if settings is None:
        settings = Settings(feature_names=[feature.name for feature in features])
    given = {feature.name: feature for feature in features}
    if len(given) != len(features):
        assemble(features)  # raises, and names the double
    chosen: list[Feature] = []
    absent: list[str] = []
    for name, build in _standard(settings, clock):
        feature = given.pop(name, None) or build()
        if feature is None:
            absent.append(name)
        else:
            chosen.append(feature)
    chosen.extend(given.values())
    _refuse_open_ways(chosen, settings)
    chosen.append(_Absent(app, absent))
    kit = install(app, *chosen, clock=clock, problem_type_base=settings.problems.type_base)
    kit.provide([settings])
    return kit


def _refuse_open_ways(features: Sequence[Feature], settings: Settings) -> None:
    """`Settings` sees only what was set there; a feature may have been given in code."""
    if settings.environment != "production":
        return
    for feature in features:
        if isinstance(feature, WebSessions) and not feature.settings.secure:
            raise SettingsError([OPEN_COOKIES])
        if isinstance(feature, Webhooks) and feature.settings.is_open:
            raise SettingsError([OPEN_WEBHOOKS])


def _refuse_other_settings(settings: object) -> None:
    if settings is not None and not isinstance(settings, Settings):
        message = (
            f"settings is an object of type {type(settings).__name__}: write settings=Settings(...) with its fields as "
            "arguments"
        )
        raise InstallationError(message)


def _standard(settings: Settings, clock: Clock | None) -> list[tuple[str, Callable[[], Feature | None]]]:
    """Every standard feature with how to build it; None where it is off until it is given a value.

    The order matters where two share a layer: the peer's trust is known before its correlation id is believed.
    """
    return [
        ("shared_store", lambda: SharedStore(settings.store, clock=clock)),
        ("operations", lambda: Operations.from_settings(settings.operations)),
        ("proxies", lambda: Proxies.from_settings(settings.proxies)),
        ("correlation", lambda: Correlation.from_settings(settings.correlation)),
        ("logs", lambda: Logs.from_settings(settings.logs)),
        ("metrics", lambda: Metrics.from_settings(settings.metrics)),
        (
            "error_reporting",
            lambda: (
                ErrorReporting.from_settings(settings.error_reporting)
                if settings.error_reporting.is_on
                else None
            ),
        ),
        ("health", lambda: Health.from_settings(settings.health)),
        # Before CORS, which answers preflights.
        ("security_headers", lambda: SecurityHeaders.from_settings(settings.security_headers)),
        ("cors", lambda: CORS.from_settings(settings.cors) if settings.cors.is_on else None),
        ("hosts", lambda: Hosts.from_settings(settings.hosts) if settings.hosts.is_on else None),
        # Before whatever else stands in EDGE: under overload a refusal must cost as little as can be.
        (
            "load_shedding",
            lambda: (
                LoadShedding.from_settings(settings.load_shedding) if settings.load_shedding.is_on else None
            ),
        ),
        (
            "fetch_metadata",
            lambda: (
                FetchMetadata.from_settings(settings.fetch_metadata)
                if settings.fetch_metadata.is_on
                else None
            ),
        ),
        ("request_limits", lambda: RequestLimits.from_settings(settings.request_limits)),
        ("timeouts", lambda: Timeouts.from_settings(settings.timeouts)),
        ("rate_limiting", lambda: RateLimiting.from_settings(settings.rate_limiting)),
        ("authentication", lambda: Authentication.from_settings(settings.authentication)),
        ("api_keys", lambda: APIKeys.from_settings(settings.api_keys) if settings.api_keys.is_on else None),
        ("jwt", lambda: JWT.from_settings(settings.jwt) if settings.jwt.is_on else None),
        (
            "web_sessions",
            lambda: WebSessions.from_settings(settings.web_sessions) if settings.web_sessions.is_on else None,
        ),
        ("metering", lambda: Metering.from_settings(settings.metering)),
        ("budgets", lambda: Budgets.from_settings(settings.budgets) if settings.budgets.is_on else None),
        (
            "webhooks",
            lambda: Webhooks.from_settings(settings.webhooks) if settings.webhooks.is_on else None,
        ),
        # Outside of what replays whole answers: those keep plain bytes.
        (
            "compression",
            lambda: Compression.from_settings(settings.compression) if settings.compression.is_on else None,
        ),
    ]


WAYS_TO_IDENTIFY = frozenset({"api_keys", "jwt", "web_sessions"})
"""Nobody needs all of them; that there is none is said of `authentication`."""

_RIVALS = {
    "CORSMiddleware": "it runs inside of prodkit, so a page cannot read refusals that are made before it (401, 429, 413 ...), "
    "and beside CORS of prodkit nothing that it allows has an effect: only our list counts. Remove it and name the origins in CORS(origins=[...]) or PRODKIT_CORS__ORIGINS",
    "TrustedHostMiddleware": "it runs inside of prodkit, so what is answered before it (probes, preflights, refusals) is "
    "answered for every Host, and its own refusal is plain text. Remove it and name your hosts in PRODKIT_HOSTS__ALLOWED",
    "ProxyHeadersMiddleware": "it runs inside of prodkit, so limits and logs do not see what it finds, and your handlers see "
    "another client than they do. Remove it and name your proxies in PRODKIT_PROXIES__TRUSTED_PROXIES",
}
"""What others recommend for a bare application and works differently beside us. By name: the last one is uvicorn's, which
need not be installed."""


def _rivals(app: FastAPI) -> Iterator[str]:
    """A warning for each of them among the application's own middleware, subclasses included."""
    for added in app.user_middleware:
        # A factory may stand there in place of a class.
        lineage = getattr(added.cls, "__mro__", ())
        name = next((kind.__name__ for kind in lineage if kind.__name__ in _RIVALS), None)
        if name is not None:
            yield f"{name} was added to a hardened application: {_RIVALS[name]}"


class _Absent:
    """Says once, at start-up, what an operator may think is on and is not, or works and does not."""

    name = "absent"
    provides: Sequence[object] = ()

    def __init__(self, app: FastAPI, names: list[str]) -> None:
        self._app = app
        self._names = names

    def parts(self, kit: Kit) -> Parts:
        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            # Authentication is always asked, since another feature may bring an authenticator; without one it does nothing.
            absent = [name for name in self._names if name not in WAYS_TO_IDENTIFY]
            if not kit.parts["authentication"].guards:
                absent.append("authentication")
            if absent:
                names = ", ".join(absent)
                LOGGER.warning("not configured, hence off: %s (`prodkit config` shows the settings)", names)
            for warning in _rivals(self._app):
                LOGGER.warning(warning)
            yield

        return Parts(lifespan=lifespan)
