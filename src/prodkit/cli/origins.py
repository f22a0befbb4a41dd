"""Where the value of each setting comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from prodkit.core import environment
from prodkit.core.environment import PREFIX, SECRETS_DIR, read_sources, variables_of
from prodkit.core.redaction import MASK, is_secret_name, redact
from prodkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prodkit.core.environment import Source, Variable
    from prodkit.core.features import Kit

__all__ = ["Effective", "effective_settings", "ignored_variables"]

IN_CODE = "application code"


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it holds.

    Attributes:
        name: its environment variable.
        section: the feature, empty for general settings.
        value: fit for JSON, secrets masked; None where there is none.
        origin: `default`, `environment NAME`, `.env NAME`, `secrets file NAME` or `application code`.
    """

    name: str
    section: str
    value: object
    origin: str


def effective_settings(settings: Settings, kit: Kit | None) -> list[Effective]:
    """Every setting of *settings*; where *kit* has a feature that was given other values in code, those."""
    sources, _ = read_sources(settings.model_config.get("env_file"))
    found = []
    for variable in variables_of(Settings):
        read = _read(settings, variable)
        used = _in_code(kit, settings, variable)
        value, origin = (read, _origin(sources, variable)) if used is None else (used[0], IN_CODE)
        if origin == "default" and read != _default(variable):
            origin = IN_CODE  # Settings(...) was built with arguments
        found.append(Effective(variable.name, variable.section, _shown(variable, value), origin))
    # It says where settings are looked for, and so is none of their fields.
    general = sum(not setting.section for setting in found)
    found.insert(general, _secrets_dir(sources))
    return found


def _secrets_dir(sources: Sequence[Source]) -> Effective:
    for source in sources:
        if SECRETS_DIR in source.values:
            return Effective(SECRETS_DIR, "", source.values[SECRETS_DIR], f"{source.label} {SECRETS_DIR}")
    return Effective(SECRETS_DIR, "", environment.DEFAULT_SECRETS_DIR, "default")


def ignored_variables(effective: Sequence[Effective]) -> Iterator[tuple[str, str]]:
    """Name and section of what is set from outside and yet decided by the application's code."""
    sources, _ = read_sources(Settings.model_config.get("env_file"))
    origins = {variable.name: _origin(sources, variable) for variable in variables_of(Settings)}
    for setting in effective:
        if setting.origin == IN_CODE and origins[setting.name] != "default":
            yield setting.name, setting.section


def _read(settings: BaseModel, variable: Variable) -> Any:  # Any: the value of some field
    owner = getattr(settings, variable.section) if variable.section else settings
    return getattr(owner, variable.field)


def _default(variable: Variable) -> Any:  # Any: the value of some field
    owner: Any = Settings
    if variable.section:
        owner = Settings.model_fields[variable.section].annotation
    return owner.model_fields[variable.field].get_default(call_default_factory=True, validated_data={})


def _in_code(kit: Kit | None, settings: Settings, variable: Variable) -> tuple[object] | None:
    """The value that the installed feature works with, when it is not the one of *settings*."""
    feature = None if kit is None else kit.features.get(variable.section)
    section = getattr(feature, "settings", None)
    if not isinstance(section, BaseModel) or variable.field not in type(section).model_fields:
        return None
    value = getattr(section, variable.field)
    return (value,) if value != _read(settings, variable) else None


def _origin(sources: Sequence[Source], variable: Variable) -> str:
    """The first source that has *variable*, a part of it, or a JSON object for its whole section."""
    for source in sources:
        for name in _names(source.values, variable):
            return f"{source.label} {name}"
    return "default"


def _names(values: Mapping[str, str], variable: Variable) -> Iterator[str]:
    if variable.name in values:
        yield variable.name
    if variable.is_mapping:
        yield from (name for name in values if name.startswith(f"{variable.name}__"))
    section = f"{PREFIX}{variable.section.upper()}"
    if variable.section and section in values:
        try:
            given = json.loads(values[section])
        except ValueError:
            return  # the settings refuse it, and say so
        if isinstance(given, dict) and variable.field in {name.lower() for name in given}:
            yield section


def _shown(variable: Variable, value: object) -> object:
    if value is None:
        return None
    if variable.is_secret or (is_secret_name(variable.field) and not isinstance(value, (bool, int, float))):
        # Whether there is one is worth knowing; an empty mapping or list of secrets holds none.
        return MASK if value else value
    return redact(_plain(value))


def _plain(value: object) -> object:
    """*value* in terms of JSON."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, BaseModel):
        # What a model keeps out of its own repr is nobody's business here either.
        hidden = {name for name, field in type(value).model_fields.items() if not field.repr}
        return _plain(value.model_dump(exclude=hidden, exclude_none=True))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    return str(value)
