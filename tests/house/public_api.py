"""The public interface as text: what a release promises, one line a name, with signatures.

`python -m tests.house.public_api` writes it into public_api.txt, where a change to it is reviewed.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING

from docs._hooks.generate import exists, features
from tests.house.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = ROOT / "tests" / "house" / "public_api.txt"

# Public beside the features.
MODULES = [
    "prodkit",
    "prodkit.hardening",
    "prodkit.installation",
    "prodkit.settings",
    "prodkit.shared_store",
    "prodkit.stores",
    "prodkit.testing",
]


def render() -> str:
    """The interface of today."""
    names = [*MODULES, *(f"prodkit.{name}" for name in features())]
    return "\n".join(line for name in names if exists(name) for line in [*module_lines(name), ""])


def module_lines(name: str) -> Iterator[str]:
    """The public names of one module, in the order of `__all__`, which ruff keeps sorted."""
    module = importlib.import_module(name)
    yield f"{name}:"
    for public in module.__all__:
        thing = getattr(module, public)
        origin = getattr(thing, "__module__", name)
        if name not in {origin, "prodkit"} and str(origin).startswith("prodkit."):
            yield f"  {public} = {origin}.{public}"
        elif inspect.isclass(thing):
            yield f"  class {public}{signature(thing)}"
            yield from (f"    {line}" for line in member_lines(thing))
        elif inspect.isroutine(thing):
            yield f"  {public}{signature(thing)}"
        else:
            yield f"  {public}: {type(thing).__name__}"


def member_lines(kind: type) -> Iterator[str]:
    """Public methods and properties that *kind* itself, or a class of ours it inherits from, defines."""
    seen: dict[str, object] = {}
    for ancestor in kind.__mro__:
        if ancestor.__module__.startswith("prodkit"):
            for name, member in vars(ancestor).items():
                seen.setdefault(name, member)
    for name, member in sorted(seen.items()):
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if name.startswith(("_", "model_")):
            continue
        if isinstance(member, property):
            yield f"{name} (property)"
        elif inspect.isfunction(function):
            yield f"{name}{signature(function)}"


def signature(thing: object) -> str:
    """The signature of *thing* without memory addresses; empty where it has none worth naming."""
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type] # a ValueError or TypeError says it is none
    except (TypeError, ValueError):
        return ""
    # Names in quotes and full paths depend on how a module imports what it annotates with.
    text = re.sub(r" at 0x[0-9a-f]+", "", text).replace("'", '"')
    return re.sub(r"\b(?:[a-z_]+\.)+([A-Z])", r"\1", text)


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE.relative_to(ROOT)}")  # noqa: T201 - a command of its own
