"""Optional dependencies, imported by the constructor that needs them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from prodkit.core.exceptions import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import *module*, or say what to install.

    Args:
        module: the dotted name to import.
        extra: the extra of `fastapi-prodkit` that brings it.
        purpose: what needs it, as the start of a sentence: "The Redis store".

    Raises:
        MissingExtraError: the package is not installed. An ImportError from inside an installed package is
            not hidden: it rises as it is.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        message = f"{purpose} needs {error.name}: pip install 'fastapi-prodkit[{extra}]'"
        raise MissingExtraError(message, name=error.name) from error
