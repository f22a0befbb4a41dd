"""What the documentation site generates from the code: navigation, settings, problem types, a reference page a module.

mkdocs loads this file by path and calls the `on_*` functions. What is generated cannot be stale; what stands in
docs/ is written by hand.
"""

from __future__ import annotations

import importlib
import json
import tomllib
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from prodkit.core.features import FeatureSettings
from prodkit.core.problems import PROBLEM_TYPES, TYPE_BASE
from prodkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page
    from pydantic.fields import FieldInfo

    from prodkit.core.problems import ProblemType

ROOT = Path(__file__).resolve().parents[2]

# Modules that are not features, and have a reference page all the same: title and the modules on it.
OTHER_PAGES = {
    "hardening": ("Installing", ["prodkit.hardening", "prodkit.installation", "prodkit.shared_store"]),
    "context": ("The request context", ["prodkit.core.context", "prodkit.core.identity"]),
    "features": ("Writing a feature", ["prodkit.core.features", "prodkit.core.pipeline"]),
    "events": ("Events and notices", ["prodkit.core.events", "prodkit.core.notices"]),
    "errors": ("Problems and exceptions", ["prodkit.core.problems", "prodkit.core.exceptions"]),
    "stores": (
        "Stores",
        [
            "prodkit.stores",
            "prodkit.stores.rules",
            "prodkit.stores.ledger",
            "prodkit.stores.urls",
            "prodkit.stores.redis_urls",
            "prodkit.stores.limits_storage",
        ],
    ),
    "testing": ("Testing", ["prodkit.testing"]),
}

SETTINGS_INTRODUCTION = """\
The first source that has a value wins: keyword arguments, `PRODKIT_*` environment variables, `.env`, the files of a
secrets directory (`PRODKIT_SECRETS_DIR`). Nested names are joined by two underscores; lists and mappings are written as
JSON. An unknown `PRODKIT_*` name refuses the start, with the nearest known name."""


def features() -> list[str]:
    """Names of the feature modules that exist, as the import-linter contract in pyproject.toml lists them."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers: list[str] = pyproject["tool"]["importlinter"]["contracts"][0]["layers"]
    siblings = max(layers, key=lambda layer: layer.count("|"))
    return sorted(
        name for name in (part.strip(" ()\n") for part in siblings.split("|")) if exists(f"prodkit.{name}")
    )


def exists(module: str) -> bool:
    """Whether *module* is a file or a package under src/."""
    path = ROOT / "src" / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


# ------------------------------------------------------------------------------------------------ mkdocs events


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation: one tab for each of learn, do, look up and understand; pages in it by name."""
    config.nav = [
        "index.md",
        {"Tutorials": by_hand("tutorials")},
        {"How-to": by_hand("how-to")},
        {
            "Reference": [
                "reference/index.md",
                *sorted(
                    {path for path in generated() if path.startswith("reference/")}
                    | set(by_hand("reference")[1:])
                ),
            ]
        },
        {"Explanation": by_hand("explanation")},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the house tests read this module without mkdocs

    for path, text in generated().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Leave the three megabytes of Mermaid out of pages that show no diagram."""
    if 'class="mermaid"' in output:
        return output
    lines = output.splitlines(keepends=True)
    return "".join(line for line in lines if "mermaid.min.js" not in line or "<script" not in line)


def by_hand(folder: str) -> list[str]:
    """Pages of *folder*, its index first."""
    names = sorted(path.name for path in (ROOT / "docs" / folder).glob("*.md"))
    return [f"{folder}/{name}" for name in sorted(names, key=lambda name: name != "index.md")]


def generated() -> dict[str, str]:
    """Path to text of every generated page."""
    pages = {"reference/settings.md": settings_page(), "reference/problems.md": problems_page()}
    pages |= {f"{kind.name}.md": problem_page(kind) for kind in problem_types()}
    pages |= {f"reference/{name}.md": feature_page(name) for name in features()}
    for name, (title, modules) in OTHER_PAGES.items():
        present = [module for module in modules if exists(module)]
        if present:
            pages[f"reference/{name}.md"] = "\n\n".join(
                [f"# {title}", *(interface(module) for module in present), ""]
            )
    return pages


# -------------------------------------------------------------------------------------------------------- pages


def feature_page(name: str) -> str:
    """Reference of one feature: its settings, then its interface."""
    title = name.replace("_", " ").capitalize()
    parts = [f"# {title}"]
    if (ROOT / "docs" / "how-to" / f"{name}.md").is_file():
        parts.append(f"How to use it: [{title}](../how-to/{name}.md).")
    section = settings_sections().get(name)
    if section is not None:
        parts += ["## Settings", section_definitions(section, f"PRODKIT_{name.upper()}__"), "## Interface"]
    return "\n\n".join([*parts, interface(f"prodkit.{name}"), ""])


def interface(name: str) -> str:
    """The directive that documents what *name* exports, without the settings models shown above it."""
    module = importlib.import_module(name)
    members = [
        public for public in getattr(module, "__all__", []) if not is_settings(getattr(module, public))
    ]
    listed = "".join(f"\n        - {member}" for member in members)
    return f"::: {name}\n    options:\n      members:{listed or ' false'}"


def settings_page() -> str:
    """Every setting there is."""
    sections = settings_sections()
    plain = {name: field for name, field in Settings.model_fields.items() if name not in sections}
    parts = [
        "# Settings",
        SETTINGS_INTRODUCTION,
        "## General",
        definitions(plain, "PRODKIT_"),
    ]
    for name, section in sections.items():
        title = f"[{name}]({name}.md)" if exists(f"prodkit.{name}") else name
        parts += [f"## {title} {{ #{name} }}", section_definitions(section, f"PRODKIT_{name.upper()}__")]
    return "\n\n".join([*parts, ""])


def settings_sections() -> dict[str, type[BaseModel]]:
    """The settings model of each feature, by its name in `Settings`."""
    found = {}
    for name, field in Settings.model_fields.items():
        models = [kind for kind in (field.annotation, *get_args(field.annotation)) if is_model(kind)]
        if models:
            found[name] = models[0]
    return found


def is_model(kind: object) -> bool:
    """Whether *kind* has fields of its own."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def is_settings(kind: object) -> bool:
    """Whether *kind* is the settings model of a feature."""
    return isinstance(kind, type) and issubclass(kind, FeatureSettings) and kind is not FeatureSettings


def section_definitions(model: type[BaseModel], prefix: str) -> str:
    """The fields of *model*; those of models inside it follow with their longer prefix."""
    return definitions(dict(flattened(model)), prefix)


def flattened(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Fields of *model*, a nested model's under `outer__inner`."""
    for name, field in model.model_fields.items():
        if is_model(field.annotation):
            for inner, inner_field in flattened(field.annotation):  # type: ignore[arg-type] # is_model says so
                yield f"{name}__{inner}", inner_field
        else:
            yield name, field


def definitions(fields: dict[str, FieldInfo], prefix: str) -> str:
    """Settings as a definition list: variable; type, default, meaning. Names are too long for the column of a table."""
    entries = []
    for name, field in fields.items():
        meaning = " ".join((field.description or "").split())
        entries.append(
            f"`{prefix}{name.upper()}`\n:   *{type_name(field.annotation)}*, {default_of(field)}. {meaning}"
        )
    return "\n\n".join(entries)


def default_of(field: FieldInfo) -> str:
    """What holds without a value, as one would write it into the environment."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or value in ("", (), [], {}, frozenset()):
        return "no default"
    if isinstance(value, bool):
        return f"default `{str(value).lower()}`"
    if isinstance(value, (tuple, list, set, frozenset, dict)):
        as_json = value if isinstance(value, dict) else [str(item) for item in value]
        return f"default `{json.dumps(as_json, default=str)}`"
    return f"default `{value}`"


def type_name(kind: Any) -> str:
    """*kind* in the words of somebody who writes an environment variable."""
    origin, inner = get_origin(kind), [argument for argument in get_args(kind) if argument is not type(None)]
    if origin is Literal:
        return " or ".join(str(value) for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in inner)
    if origin is not None and hasattr(kind, "__metadata__"):
        return type_name(inner[0])
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_name(inner[0])}"
    if origin is dict:
        return f"mapping to {type_name(inner[-1])}"
    return {"str": "text", "int": "integer", "float": "number", "bool": "boolean", "SecretStr": "secret"}.get(
        getattr(kind, "__name__", ""), getattr(kind, "__name__", str(kind))
    )


def problem_types() -> list[ProblemType]:
    """Every problem type, once all features have registered theirs."""
    for name in features():
        importlib.import_module(f"prodkit.{name}")
    return sorted(PROBLEM_TYPES.values(), key=lambda kind: (kind.status, kind.name))


def problems_page() -> str:
    """The list of problem types."""
    rows = "\n".join(
        f"| {kind.status} | [{kind.name}](../{kind.name}.md) | {kind.description} |"
        for kind in problem_types()
    )
    return (
        "# Problem types\n\nEvery error is one `application/problem+json` document (RFC 9457). Its `type` is the address of "
        f"one of these pages; types registered with IANA keep their registered URI.\n\n| status | type | |\n|---|---|---|\n{rows}\n"
    )


def problem_page(kind: ProblemType) -> str:
    """The page that the type URI of *kind* leads to."""
    example = {
        "type": kind.uri or f"{TYPE_BASE}{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title,
        "instance": "urn:correlation-id:0b5c2f5e8a8f4f0c9c0f8f6f2f1f3a77",
        "correlation_id": "0b5c2f5e8a8f4f0c9c0f8f6f2f1f3a77",
    }
    registered = f"\n\nThis type is registered: <{kind.uri}>." if kind.uri else ""
    document = json.dumps(example, indent=2)
    return (
        f"# {kind.title}\n\nProblem type `{kind.name}`, HTTP status {kind.status}.\n\n{kind.description}{registered}\n\n"
        f"```json\n{document}\n```\n\nThe `correlation_id` is in the server's log; quote it when asking for help. "
        f"[All problem types](reference/problems.md)\n"
    )
