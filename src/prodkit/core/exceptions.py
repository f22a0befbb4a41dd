"""What the operator or the developer did wrong, raised while an application is being built.

```
ProdkitError                    never raised directly
├── SettingsError               a setting is missing, unknown, impossible or unsafe (also a ValueError)
├── InstallationError           installed twice, too late, or two features of one name (also a RuntimeError)
├── MissingExtraError           an optional dependency is needed (also an ImportError)
├── WeakKeyError                a key of `prodkit.jwt` must not be trusted (also a ValueError; defined there)
├── KeysUnavailableError        the keys of an issuer are not known, because it does not answer (defined there)
└── StoreError                  shared state
    ├── StoreUnavailableError   the store did not answer within its bound; may pass by itself
    └── StoreIncompatibleError  the data belongs to somebody else or to a newer release
```

What a *client* did wrong is a `prodkit.Problem`; the two families never mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "InstallationError",
    "MissingExtraError",
    "ProdkitError",
    "SettingsError",
    "SettingsFault",
    "StoreError",
    "StoreIncompatibleError",
    "StoreUnavailableError",
]


class ProdkitError(Exception):
    """Superclass of every error an operator or developer has to cure. Never raised directly."""


@dataclass(frozen=True, slots=True)
class SettingsFault:
    """One thing that is wrong with the settings.

    Attributes:
        name: where it is set, as the operator knows it: the environment variable or the keyword argument.
        message: what is wrong, without the value when that could be secret.
        cure: what to do about it, as one sentence.
    """

    name: str
    message: str
    cure: str

    def __str__(self) -> str:
        """One line: name, what is wrong, what to do."""
        return f"{self.name}: {self.message} {self.cure}".rstrip()


class SettingsError(ProdkitError, ValueError):
    """The settings cannot be used. Lists every fault at once, each with its name and its cure."""

    def __init__(self, faults: Sequence[SettingsFault]) -> None:
        """Join *faults* into one message; they stay available as `faults`."""
        self.faults = tuple(faults)
        noun = "setting is" if len(self.faults) == 1 else "settings are"
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"{len(self.faults)} {noun} wrong; nothing was started:{lines}")


class InstallationError(ProdkitError, RuntimeError):
    """prodkit was installed in a way that cannot work; the message says how to install it."""


class MissingExtraError(ProdkitError, ImportError):
    """An optional dependency is not installed; the message holds the line that installs it."""


class StoreError(ProdkitError):
    """Something about shared state. Never raised directly."""


class StoreUnavailableError(StoreError):
    """The store did not answer in time, or answered with an error that may pass. Safe to try again later."""


class StoreIncompatibleError(StoreError):
    """The data was written by a newer release, or by another program. Trying again does not help."""
