"""From `MODULE:ATTR` to an application."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any

from prodkit.cli.console import Console, RefusedError, UsageError
from prodkit.core.exceptions import ProdkitError

if TYPE_CHECKING:
    from prodkit.core.features import Kit

__all__ = ["kit_or_none", "load"]

_FORM = "write it as MODULE:ATTR, for example shop.main:app"


def load(target: str) -> Any:  # Any: an ASGI application of whatever make
    """Import *target* with the working directory first on the path, and call it when it is a factory.

    What the import prints goes to standard error, so that a result on standard output stays one.

    Raises:
        UsageError: it is not written as MODULE:ATTR, or there is no such module or attribute.
        ProdkitError: the application refuses to start, for example a `SettingsError`.
        RefusedError: the import fails, or what is found is no ASGI application.
    """
    module_name, separator, attribute = target.partition(":")
    if not separator or not module_name or not attribute:
        message = f"{target!r} names no application: {_FORM}"
        raise UsageError(message)
    if "/" in module_name or module_name.endswith(".py"):
        message = f"{module_name!r} is a path, a module is needed: {_FORM}"
        raise UsageError(message)
    here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    if here not in sys.path:
        sys.path.insert(0, here)
    with contextlib.redirect_stdout(sys.stderr):
        found: Any = _module(module_name)
        for part in attribute.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                message = f"module {module_name} has no attribute {attribute!r}"
                raise UsageError(message) from None
        return _application(found, target)


def kit_or_none(application: object) -> Kit | None:
    """What is installed in *application*, or None when nothing is."""
    kit: Kit | None = getattr(getattr(application, "state", None), "prodkit", None)
    return kit


def _module(name: str) -> Any:  # Any: a module's attributes
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module that was asked for is the user's slip; one that it imports is a broken application.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            message = f"there is no module {error.name!r} in {_where()}"
            raise UsageError(message) from None
        raise _broken(error, f"importing {name}") from error
    except ProdkitError:
        raise
    except Exception as error:
        raise _broken(error, f"importing {name}") from error


def _application(found: Any, target: str) -> Any:  # Any: see load
    if _takes(found):
        try:
            found = found()
        except ProdkitError:
            raise
        except Exception as error:
            raise _broken(error, f"the factory {target}") from error
        if inspect.iscoroutine(found):
            found.close()  # or Python would complain, at some later moment, that nobody awaited it
            message = f"{target} is a coroutine function: a factory of an application is a plain `def`"
            raise RefusedError(message)
    if not _takes(found, "scope", "receive", "send"):
        message = f"{target} is a {type(found).__name__}, which is no ASGI application and no factory of one"
        raise RefusedError(message)
    return found


def _takes(found: Any, *arguments: object) -> bool:
    """Whether *found* can be called with these."""
    if not callable(found):
        return False
    try:
        inspect.signature(found).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def _broken(error: Exception, what: str) -> RefusedError:
    return RefusedError(f"{what} failed: {Console.one_line(error)} (`--traceback` shows where)")


def _where() -> str:
    return f"{os.getcwd()} or on the Python path"  # noqa: PTH109 - see load
