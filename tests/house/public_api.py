"""The public interface as text: what a release promises, one line a name, with signatures.

`python -m tests.house.public_api` writes it into public_api.txt, where a change to it is reviewed.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING, get_args, get_origin

from pydantic import BaseModel

from docs._hooks.generate import exists, features
from prodkit.core.features import FeatureSettings
from tests.house.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = ROOT / "tests" / "house" / "public_api.txt"

# Public beside the features.
MODULES = [
    "prodkit",
    "prodkit.hardening",
    "prodkit.installation",
    "prodkit.serving",
    "prodkit.settings",
    "prodkit.shared_store",
    "prodkit.stores",
    "prodkit.testing",
]


def render() -> str:
    """The interface of today. What several modules export is written out once, under the first of them."""
    names = [name for name in (*MODULES, *(f"prodkit.{name}" for name in features())) if exists(name)]
    written: dict[int, str] = {}
    return "\n".join(line for name in names for line in [*module_lines(name, written), ""])


def module_lines(name: str, written: dict[int, str]) -> Iterator[str]:
    """The public names of one module, in the order of `__all__`, which ruff keeps sorted."""
    module = importlib.import_module(name)
    yield f"{name}:"
    for public in module.__all__:
        thing = getattr(module, public)
        if id(thing) in written and callable(thing):
            yield f"  {public} = {written[id(thing)]}"
            continue
        written[id(thing)] = f"{name}.{public}"
        if inspect.isclass(thing):
            yield from class_lines(public, thing)
        elif inspect.isroutine(thing):
            asynchronous = "async " if inspect.iscoroutinefunction(thing) else ""
            yield f"  {asynchronous}{public}{signature(thing)}"
        elif get_origin(thing) is not None:
            # Metadata of Annotated is how it is done, not what it promises.
            yield f"  {public} = {plain(inspect.formatannotation(get_args(thing)[0] if hasattr(thing, '__metadata__') else thing))}"
        else:
            yield f"  {public}: {type(thing).__name__}"


def class_lines(public: str, kind: type) -> Iterator[str]:
    """A class with what its users call; a model with its fields, a protocol without its constructor."""
    bases = ", ".join(base.__name__ for base in kind.__bases__ if base is not object)
    made = "" if issubclass(kind, BaseModel) or getattr(kind, "_is_protocol", False) else signature(kind)
    yield f"  class {public}{made}" + (f": {bases}" if bases else "")
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            default = "" if field.is_required() else f" = {field.get_default(call_default_factory=True)!r}"
            annotation = inspect.formatannotation(field.annotation)
            yield f"    {plain(f'{name}: {annotation}')}{'' if 'Settings(' in default else default}"
    seen: dict[str, object] = {}
    for ancestor in kind.__mro__:
        # What each settings model inherits is said once, at its base.
        if ancestor.__module__.startswith("prodkit") and (
            ancestor is kind or ancestor is not FeatureSettings
        ):
            for name, member in vars(ancestor).items():
                seen.setdefault(name, member)
    for name, member in sorted(seen.items()):
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if name.startswith(("_", "model_", "settings_", "test_")):
            continue
        if isinstance(member, property):
            yield f"    {name} (property)"
        elif inspect.isfunction(function):
            asynchronous = "async " if inspect.iscoroutinefunction(function) else ""
            yield f"    {asynchronous}{name}{signature(function)}"


def signature(thing: Callable[..., object]) -> str:
    """The signature of *thing*; empty where it has none worth naming."""
    try:
        return plain(str(inspect.signature(thing)))
    except (TypeError, ValueError):
        return ""


def plain(text: str) -> str:
    """*text* without what depends on the run, or on how a module imports the types it annotates with."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    # Annotations are strings where a module postpones their evaluation.
    text = re.sub(r"(: |-> )(['\"])(.*?)\2(?=[,)]| = |$)", r"\1\3", text)
    return re.sub(r"(?<![/'\".\w])(?:[a-z_]+\.)+([A-Za-z])", r"\1", text)


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE.relative_to(ROOT)}")  # noqa: T201 - a command of its own
