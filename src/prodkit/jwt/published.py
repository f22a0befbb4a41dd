"""What an identity provider publishes: found by discovery or at a configured address, fetched, read.

Source: OpenID Connect Discovery 1.0, 4; RFC 8414, 3; RFC 7517, 5.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.threads import call_in_daemon_thread
from prodkit.jwt.discovery import fault_of_url, jwks_uri_of, metadata_urls
from prodkit.jwt.fetching import MAX_BYTES, FetchError, Reason, max_age_of
from prodkit.jwt.key_set import read_key_set

if TYPE_CHECKING:
    from prodkit.core.clock import Clock
    from prodkit.jwt.fetching import Fetch, Fetched
    from prodkit.jwt.key_set import KeySet

__all__ = ["Published"]

LOGGER = logging.getLogger("prodkit.jwt")

# The metadata is asked for again once a day, in case the provider moved its keys.
_METADATA_SECONDS: Final = 86_400.0
_THREAD: Final = "prodkit-jwks-read"


class Published:
    """The key set of one issuer, fetched anew whenever it is asked for.

    Args:
        issuer: as tokens have it.
        jwks_uri: where the keys are, or None to ask the issuer.
        fetch: gets a URL.
        clock: the time.

    Raises:
        SettingsError: an address is none that keys may be fetched from.
    """

    def __init__(self, issuer: str, jwks_uri: str | None, fetch: Fetch, clock: Clock) -> None:
        if jwks_uri is None:
            _check("PRODKIT_JWT__ISSUER", fault_of_url(issuer, is_issuer=True), "or set a JWKS_URI too")
        else:
            _check("PRODKIT_JWT__JWKS_URI", fault_of_url(jwks_uri), "or leave it out to have it discovered")
        self._issuer = issuer
        self._configured = jwks_uri
        self._fetch = fetch
        self._clock = clock
        self._discovered: str | None = None
        self._discovered_at = float("-inf")

    async def get(self, *, look_anew: bool) -> tuple[KeySet, float | None]:
        """The keys, and for how many seconds the provider says that they are fresh, or None.

        Args:
            look_anew: whether discovery shall be repeated, since the keys may have moved.

        Raises:
            FetchError: they could not be had.
            Exception: whatever a fetch of the user's raises.
        """
        uri = self._configured if self._configured is not None else await self._discover(look_anew=look_anew)
        fetched = await self._fetch_ok(uri)
        # In a thread: a set of the size that is allowed would hold up the loop for tens of milliseconds.
        found = await call_in_daemon_thread(lambda: read_key_set(fetched.body), _THREAD)
        return found, max_age_of(fetched.cache_control)

    async def _discover(self, *, look_anew: bool) -> str:
        known, now = self._discovered, self._clock.monotonic()
        if known is not None and not look_anew and now < self._discovered_at + _METADATA_SECONDS:
            return known
        try:
            found = await self._read_metadata()
        except FetchError as error:
            if known is None:
                raise
            LOGGER.warning(
                "metadata of %s: %s; the keys are fetched from where they were", self._issuer, error
            )
            return known
        self._discovered, self._discovered_at = found, now
        return found

    async def _read_metadata(self) -> str:
        first, second = metadata_urls(self._issuer)
        try:
            fetched = await self._fetch_ok(first)
        except FetchError as error:
            if error.reason is not Reason.STATUS:
                raise
            fetched = await self._fetch_ok(second)
        return await call_in_daemon_thread(lambda: jwks_uri_of(fetched.body, self._issuer), _THREAD)

    async def _fetch_ok(self, url: str) -> Fetched:
        fetched = await self._fetch(url)
        if fetched.status != 200:
            raise FetchError(Reason.STATUS, f"the status is {fetched.status:d}")
        if len(fetched.body) > MAX_BYTES:
            raise FetchError(Reason.TOO_LARGE, f"the body holds more than {MAX_BYTES} bytes")
        return fetched


def _check(setting: str, fault: str | None, otherwise: str) -> None:
    if fault is not None:
        raise SettingsError([SettingsFault(setting, fault, f"Write an https address, {otherwise}.")])
