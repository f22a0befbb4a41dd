"""The environment variables that settings can be given by: their names, their types, and where each was found.

Names are compared without case, as operating systems differ in it.
"""

from __future__ import annotations

import difflib
import json
import os
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

from dotenv import dotenv_values
from pydantic import BaseModel, SecretBytes, SecretStr

from prodkit.core.exceptions import SettingsFault

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = [
    "PREFIX",
    "SECRETS_DIR",
    "Source",
    "Variable",
    "closest",
    "read_sources",
    "unknown_names",
    "variables_of",
]

PREFIX: Final = "PRODKIT_"

SECRETS_DIR: Final = f"{PREFIX}SECRETS_DIR"
"""Names the secrets directory, so it can come from the environment or from `.env` only."""

DEFAULT_SECRETS_DIR: Final = "/run/secrets"
"""Where Docker and Podman mount secrets."""

# A secret is a line, a key or a certificate chain; whatever is larger is not one of ours.
_MAX_SECRET_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable.

    Attributes:
        name: in capitals, with prefix and section.
        section: the feature it belongs to, empty for general ones.
        field: the field within the section.
        type_text: for people: `text`, `whole number`, `list of text (JSON)`, or the words that are allowed.
        default: as it would be written in a `.env` file; empty when there is none.
        description: what the field's own documentation says.
        is_secret: whether its value must never be shown.
        is_mapping: whether names may follow it after two more underscores.
    """

    name: str
    section: str
    field: str
    type_text: str
    default: str
    description: str
    is_secret: bool
    is_mapping: bool


def variables_of(settings: type[BaseModel], prefix: str = PREFIX, section: str = "") -> Iterator[Variable]:
    """Every variable *settings* reads, in the order of its fields."""
    for name, field in settings.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from variables_of(nested, f"{prefix}{name.upper()}__", name)
            continue
        kinds = set(_leaves(nested))
        yield Variable(
            name=f"{prefix}{name.upper()}",
            section=section,
            field=name,
            type_text=_type_text(nested),
            default=_default_text(field),
            description=" ".join((field.description or "").split()),
            is_secret=bool(kinds & {SecretStr, SecretBytes}),
            is_mapping=bool(kinds & {dict, Mapping}),
        )


def unknown_names(
    present: Iterable[str], known: Iterable[Variable], feature_names: Collection[str], also: Collection[str]
) -> list[str]:
    """Those of *present* that carry our prefix and belong to no variable, feature or name in *also*."""
    variables = list(known)
    names = {variable.name for variable in variables} | set(also)
    # A whole section may be given as one JSON object.
    names |= {f"{PREFIX}{variable.section.upper()}" for variable in variables if variable.section}
    prefixes = tuple(f"{variable.name}__" for variable in variables if variable.is_mapping)
    prefixes += tuple(f"{PREFIX}{name.upper()}__" for name in feature_names)
    return sorted(
        name
        for name in present
        if name.upper().startswith(PREFIX)
        and name.upper() not in names
        and not name.upper().startswith(prefixes)
    )


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like *name*, or None when nothing is near."""
    matches = difflib.get_close_matches(name.upper(), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


@dataclass(frozen=True, slots=True)
class Source:
    """One place where settings were looked for.

    Attributes:
        label: for people: `environment`, `secrets file`, or the path of the `.env` file.
        values: what it holds under names with our prefix, in capitals.
    """

    label: str
    values: Mapping[str, str]


EnvFile = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None


def read_sources(
    env_file: EnvFile, secrets_dir: str | os.PathLike[str] | None = None
) -> tuple[list[Source], list[SettingsFault]]:
    """Everything that is set: the environment, `.env`, the files of the secrets directory; the first one wins.

    Args:
        env_file: one path or several, of which the last wins; a missing file is no fault.
        secrets_dir: in place of what `PRODKIT_SECRETS_DIR` names. A directory that was named has to exist, the
            default one has not. Only files that carry our prefix are opened: the others are somebody else's.

    Returns:
        The sources, and a fault for each file that could not be read; no fault shows what is in a file.
    """
    faults: list[SettingsFault] = []
    sources = [Source("environment", _ours(os.environ))]
    paths = [env_file] if isinstance(env_file, (str, os.PathLike)) else list(env_file or ())
    for path in reversed(paths):
        file = Path(path).expanduser()
        # Also a named pipe, which some secret managers offer in place of a file.
        if file.exists() and not file.is_dir():
            try:
                sources.append(Source(str(path), _ours(dotenv_values(file))))
            except (OSError, UnicodeDecodeError) as error:
                faults.append(_unreadable(str(path), error))
    named = secrets_dir or next((s.values[SECRETS_DIR] for s in sources if SECRETS_DIR in s.values), None)
    sources.append(Source("secrets file", _secrets(named, faults)))
    return sources, faults


def _ours(values: Mapping[str, str | None]) -> dict[str, str]:
    # A line of a .env file without "=" has no value: it is as empty as one with nothing after it.
    return {name.upper(): value or "" for name, value in values.items() if name.upper().startswith(PREFIX)}


def _secrets(named: str | os.PathLike[str] | None, faults: list[SettingsFault]) -> dict[str, str]:
    directory = Path(named or DEFAULT_SECRETS_DIR).expanduser()
    values: dict[str, str] = {}
    if not directory.is_dir():
        if named is not None:
            faults.append(
                SettingsFault(SECRETS_DIR, "it names no directory.", "Create it, or remove the setting.")
            )
        return values
    try:
        files = sorted(file for file in directory.iterdir() if file.name.upper().startswith(PREFIX))
    except OSError as error:
        # The default directory may belong to somebody else; the one that was named is ours to read.
        if named is not None:
            faults.append(_unreadable(SECRETS_DIR, error))
        return values
    for file in files:
        name = file.name.upper()
        try:
            with file.open("rb") as opened:
                content = opened.read(_MAX_SECRET_BYTES + 1)
            if len(content) > _MAX_SECRET_BYTES:
                message = f"its secrets file is larger than {_MAX_SECRET_BYTES} bytes."
                faults.append(SettingsFault(name, message, "Put the value alone into it."))
                continue
            # Editors, `echo` and kubectl end a file with a newline that is no part of the secret.
            values[name] = content.decode("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            faults.append(_unreadable(name, error))
    return values


def _unreadable(name: str, error: OSError | UnicodeDecodeError) -> SettingsFault:
    if isinstance(error, OSError):
        return SettingsFault(
            name,
            f"it cannot be read ({error.strerror or type(error).__name__}).",
            "Let this process read it.",
        )
    return SettingsFault(name, "it is not UTF-8 text.", "Save it as UTF-8.")


def _leaves(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is None:
        yield annotation
        return
    yield origin
    for argument in get_args(annotation):
        if origin is not Literal:
            yield from _leaves(argument)


_WORDS: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    Decimal: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret text",
    SecretBytes: "secret bytes",
}


def _type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0])
    if origin is Literal:
        return ", ".join(str(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_text(argument) for argument in arguments if argument is not type(None))
    if origin is not None and issubclass(origin, Mapping):
        return "mapping (JSON)"
    if origin is not None and issubclass(origin, (Sequence, AbstractSet)):
        return f"list of {_type_text(arguments[0])} (JSON)"
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return _WORDS.get(annotation) or ("objects" if is_model or is_dataclass(annotation) else "text")


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is None or field.is_required() or isinstance(default, (SecretStr, SecretBytes)):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Mapping):
        return json.dumps(default, default=str)
    if isinstance(default, (list, tuple)):
        return json.dumps([str(item) for item in default])
    if isinstance(default, (set, frozenset)):
        # In an order, so that what is generated does not differ from one process to the next.
        return json.dumps(sorted(str(item) for item in default))
    return str(default)
