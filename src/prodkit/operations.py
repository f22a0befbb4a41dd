"""Operations: who may read metrics and the details of health.

One permission for every feature that has something to show to operators only. Everybody else is answered 404, as if
there were nothing. A separate port for operators is planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator

from prodkit.core.features import FeatureSettings, Parts
from prodkit.core.operations import OperationsAccess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import Kit

__all__ = ["Operations", "OperationsAccess", "OperationsSettings"]

# 16 characters of base64 are 96 bits; NIST SP 800-63B-4 asks for 64 of a secret that a machine chose.
_MIN_TOKEN: Final = 16


class OperationsSettings(FeatureSettings):
    """Settings of `Operations`; environment prefix `PRODKIT_OPERATIONS__`."""

    token: Annotated[
        SecretStr | None,
        Field(
            description="Whoever sends it as `Authorization: Bearer ...` may read metrics and health details. At least "
            "16 characters, made by a machine. Default none: nobody may.",
        ),
    ] = None
    networks: Annotated[
        tuple[IPvAnyNetwork, ...],
        Field(
            description="Networks whose directly connected peers may do the same without a token, as a JSON list of CIDR "
            "ranges. Never believed when a forwarding header is present. Default none.",
        ),
    ] = ()

    @field_validator("token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None:
            return None
        text = token.get_secret_value()
        if len(text) < _MIN_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
            message = (
                f"it is not {_MIN_TOKEN} or more printable ASCII characters without spaces | "
                'Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
            raise ValueError(message)
        return token

    @field_validator("networks")
    @classmethod
    def _not_everybody(cls, networks: tuple[IPvAnyNetwork, ...]) -> tuple[IPvAnyNetwork, ...]:
        if any(network.prefixlen == 0 for network in networks):
            message = (
                "a network of prefix length 0 is everybody | Name the networks that operators connect from."
            )
            raise ValueError(message)
        return networks


class Operations:
    """The feature `operations`.

    Args:
        token: see `OperationsSettings`.
        networks: see `OperationsSettings`.
    """

    name = "operations"

    def __init__(self, *, token: str | SecretStr | None = None, networks: Sequence[object] = ()) -> None:
        self.settings = OperationsSettings.of("Operations", token=token, networks=tuple(networks))
        secret = self.settings.token
        self.access = OperationsAccess(
            None if secret is None else secret.get_secret_value(), self.settings.networks
        )
        self.provides: Sequence[object] = (self.access,)

    @classmethod
    def from_settings(cls, section: OperationsSettings) -> Operations:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """Nothing that runs: the permission is found by those who ask for it."""
        del kit
        return Parts()
