"""Webhooks: what the application has to tell is sent to endpoints of yours, signed, so that they know who speaks.

Source: Standard Webhooks 1.0 (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.features import FeatureSettings, Parts
from prodkit.webhooks.sending import Endpoint, Sender
from prodkit.webhooks.signatures import TOLERANCE_SECONDS, WebhookError, key_of, sign, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.core.features import Kit

__all__ = [
    "TOLERANCE_SECONDS",
    "WebhookEndpoint",
    "WebhookError",
    "Webhooks",
    "WebhooksSettings",
    "sign",
    "verify",
]

_MOST_ENDPOINTS: Final = 20
_MOST_SECRETS: Final = 4


class WebhookEndpoint(FeatureSettings):
    """Where webhooks go, and what they are signed with; one of the list in `WebhooksSettings`."""

    # Receivers such as chats have their credential in the path.
    url: Annotated[
        SecretStr,
        Field(description="`https://host/path`; http on a loopback address, and in development."),
    ]
    secrets: Annotated[
        tuple[SecretStr, ...],
        Field(
            min_length=1,
            max_length=_MOST_SECRETS,
            description="Each `whsec_` and base64 of 24 to 64 bytes. More than one, four at most, while one is replaced: all of "
            "them sign.",
        ),
    ]

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: SecretStr) -> SecretStr:
        fault = _fault_of_url(url.get_secret_value())
        if fault:
            message = f"{fault} | Write https://host/path."
            raise ValueError(message)
        return url

    @field_validator("secrets")
    @classmethod
    def _are_secrets(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            key_of(secret)
        return secrets

    @property
    def is_open(self) -> bool:
        """Whether what is sent can be read on the way: plain http, and not to this machine itself."""
        parts = urlsplit(self.url.get_secret_value())
        return parts.scheme == "http" and not _is_loopback(parts)


class WebhooksSettings(FeatureSettings):
    """Settings of `Webhooks`; environment prefix `PRODKIT_WEBHOOKS__`."""

    endpoints: Annotated[
        tuple[WebhookEndpoint, ...],
        Field(
            max_length=_MOST_ENDPOINTS,
            description='Where webhooks go, a JSON list: `[{"url": "https://host/path", "secrets": ["whsec_..."]}]`. A secret '
            "is whsec_ and 24 to 64 random bytes in base64, another one for each endpoint; to rotate, list the new one beside "
            "the old one until the receiver knows it. In production https only, unless the host is this machine. Needs the "
            "extra `httpx`. Default none: nothing is sent.",
        ),
    ] = ()
    proxy: Annotated[
        SecretStr | None,
        Field(
            description="An HTTP proxy to go through: http://host:3128. Default none; HTTPS_PROXY and its like are not "
            "looked at.",
        ),
    ] = None

    @field_validator("proxy")
    @classmethod
    def _is_a_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        # An empty variable is how a deployment template says "none".
        if proxy is None or not proxy.get_secret_value().strip():
            return None
        parts = _split(proxy.get_secret_value())
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            message = "it is not the URL of a proxy | Write http://host:3128."
            raise ValueError(message)
        return proxy

    @model_validator(mode="after")
    def _proxy_of_something(self) -> WebhooksSettings:
        if self.proxy is not None and not self.endpoints:
            message = "a proxy without endpoints means nothing | Set endpoints, or remove proxy."
            raise ValueError(message)
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is anywhere to send to."""
        return bool(self.endpoints)

    @property
    def is_open(self) -> bool:
        """Whether something is sent that can be read on the way."""
        return any(endpoint.is_open for endpoint in self.endpoints)


class Webhooks:
    """The feature `webhooks`: sends what other features have to tell, such as alerts of budgets.

    Args:
        endpoints: see `WebhooksSettings`; positional. Their own time-outs: 5 s to connect, 15 s in all.
        proxy: see `WebhooksSettings`.

    Raises:
        SettingsError: a setting is impossible, or there is no endpoint.
        MissingExtraError: the extra `httpx` is not installed.
    """

    name = "webhooks"

    def __init__(
        self, endpoints: Iterable[WebhookEndpoint] = (), *, proxy: str | SecretStr | None = None
    ) -> None:
        self.settings = WebhooksSettings.of("Webhooks", endpoints=tuple(endpoints), proxy=proxy)
        if not self.settings.is_on:
            fault = SettingsFault(
                "Webhooks(endpoints=...)", "there is no endpoint.", "Give one, or leave the feature out."
            )
            raise SettingsError([fault])
        self.sender = Sender(
            [Endpoint(one.url.get_secret_value(), one.secrets) for one in self.settings.endpoints],
            proxy=self.settings.proxy,
        )
        self.provides: Sequence[object] = (self.sender,)

    @classmethod
    def from_settings(cls, section: WebhooksSettings) -> Webhooks:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """Nothing that runs by itself: whoever has something to tell asks the sender."""
        self.sender.use(kit.clock)
        return Parts()


def _fault_of_url(url: str) -> str:
    """What is wrong with *url*, or nothing; does not show it."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return "it is not the URL of an endpoint"
    if "@" in parts.netloc:
        return "a URL is no place for a password"
    if parts.fragment or any(letter <= " " or letter == "\x7f" for letter in url):
        return "it has a fragment, or a blank in it"
    return ""


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    return parts


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
