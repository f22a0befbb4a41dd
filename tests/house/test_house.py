"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.metadata
import inspect
import io
import re
import tokenize
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import BaseModel

import prodkit
from docs._hooks.generate import features, generated, is_model
from prodkit.core.features import FeatureSettings
from prodkit.core.problems import TYPE_BASE
from prodkit.settings import Settings
from tests.house import public_api
from tests.house.tree import ROOT, project_files, python_files, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINES = 400
FEATURES = features()
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Modules and packages of src/prodkit that are no feature.
NOT_FEATURES = {
    "__init__",
    "__main__",
    "audit",
    "cli",
    "core",
    "hardening",
    "installation",
    "serving",
    "settings",
    "shared_store",
    "stores",
    "testing",
}


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of *path*."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def comments_of(path: Path) -> dict[int, str]:
    """Line number to comment, without directives for tools."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    directives = re.compile(r"#\s*(noqa(:\s*[A-Z0-9, ]+)?|type:\s*ignore(\[[^]]*\])?|pragma:[^-]*)")
    return {t.start[0]: directives.sub("", t.string) for t in tokens if t.type == tokenize.COMMENT}


def feature_classes(name: str) -> Iterator[tuple[str, type]]:
    """Classes that the feature module *name* itself defines."""
    module = importlib.import_module(f"prodkit.{name}")
    for public, thing in vars(module).items():
        if inspect.isclass(thing) and thing.__module__.startswith(module.__name__):
            yield public, thing


def settings_of(name: str) -> list[type[FeatureSettings]]:
    """Settings models that the feature module *name* defines."""
    return [kind for _, kind in feature_classes(name) if issubclass(kind, FeatureSettings)]


# --------------------------------------------------------------------------------------------------- place


def test_no_file_is_longer_than_the_limit() -> None:
    """Every file of the library and of the examples can be read over a coffee."""
    files = python_files("src", "examples", "tests", "benchmarks", "scripts")
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lengths) > 10
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_is_placed() -> None:
    """What lies in src/prodkit is a feature of the layers contract, or one of the few other rooms."""
    on_disk = {path.stem for path in (ROOT / "src" / "prodkit").iterdir() if path.suffix == ".py"}
    on_disk |= {path.parent.name for path in (ROOT / "src" / "prodkit").glob("*/__init__.py")}
    assert on_disk - NOT_FEATURES == set(FEATURES)


@pytest.mark.parametrize("name", FEATURES)
def test_feature_has_its_test(name: str) -> None:
    """A feature without a test file mirrors nothing."""
    tests = ROOT / "tests"
    assert (tests / f"test_{name}.py").is_file() or list((tests / name).glob("test_*.py"))


@pytest.mark.parametrize("name", FEATURES)
def test_feature_has_its_guide(name: str) -> None:
    """Each feature has a how-to page named as the module, with an example and with when not to use it."""
    text = (ROOT / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "```python" in text
    assert re.search(r"^## When not to", text, re.MULTILINE)


@pytest.mark.parametrize("name", FEATURES)
def test_feature_has_its_reference_page(name: str) -> None:
    """Its generated page shows the interface, and each of its settings by the name an operator uses."""
    page = generated()[f"reference/{name}.md"]
    assert f"::: prodkit.{name}\n" in page
    for model in settings_of(name):
        if name in Settings.model_fields and Settings.model_fields[name].annotation is model:
            missing = [
                field
                for field in model.model_fields
                if f"PRODKIT_{name.upper()}__{field.upper()}" not in page
            ]
            assert missing == []


def test_every_test_states_its_promise() -> None:
    """A test's docstring says what would be broken if it failed."""
    missing = [
        shown(path, node.lineno)
        for path in python_files("tests")
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
        # Programs that tests write out are not tests, and contract suites name the promise in the class.
        and path.name.startswith("test_")
    ]
    assert missing == []


# --------------------------------------------------------------------------------------------------- shape


def test_settings_explain_themselves() -> None:
    """Every setting has a description: the settings reference and .env.example are made from them."""
    models: list[type[BaseModel]] = [Settings, *(model for name in FEATURES for model in settings_of(name))]
    assert len(models) > 5
    silent = [
        f"{model.__module__}.{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not (field.description or "").strip() and not is_model(field.annotation)
    ]
    assert silent == []


@pytest.mark.parametrize("name", FEATURES)
def test_feature_options_are_its_settings(name: str) -> None:
    """What a developer may pass to a feature is what an operator may set, under the same names."""
    found = [
        kind
        for _, kind in feature_classes(name)
        if getattr(kind, "name", None) == name and hasattr(kind, "parts")
    ]
    assert found, f"prodkit.{name} defines no feature of the name {name!r}"
    models = settings_of(name)
    for kind in found:
        parameters = inspect.signature(kind).parameters.values()
        keywords = {
            p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.kind is p.POSITIONAL_OR_KEYWORD
        }
        assert any(set(model.model_fields) == keywords for model in models) or (
            not models and not keywords
        ), f"{kind.__name__}({', '.join(sorted(keywords))}) has no settings model with the same names"


def test_public_interface_is_the_reviewed_one() -> None:
    """A change of the public interface is seen in review: `python -m tests.house.public_api` records it."""
    reviewed, today = public_api.FILE.read_text(encoding="utf-8"), public_api.render()
    difference = difflib.unified_diff(
        reviewed.splitlines(), today.splitlines(), "reviewed", "today", lineterm="", n=1
    )
    assert "\n".join(difference) == ""


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether *handler* catches everything, or every error."""
    if handler.type is None:
        return True
    return any(
        isinstance(n, ast.Name) and n.id in {"Exception", "BaseException"} for n in ast.walk(handler.type)
    )


def test_broad_except_has_a_reason() -> None:
    """Catching everything and not raising again is a decision: its reason stands beside it, and it does something."""
    faults = []
    for path in python_files("src", "examples"):
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ExceptHandler) or not is_broad(node):
                continue
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            beside = (comments_of(path).get(line, "") for line in (node.lineno - 1, node.lineno))
            has_reason = any(len(comment.split()) >= 3 for comment in beside)
            if isinstance(node.body[0], ast.Pass) or not (raises or has_reason):
                faults.append(shown(path, node.lineno))
    assert faults == []


def test_library_has_no_base_http_middleware() -> None:
    """Starlette's BaseHTTPMiddleware runs the application in another task and costs more than all our guards."""
    users = [
        shown(path)
        for path in python_files("src")
        for node in ast.walk(tree_of(path))
        if "BaseHTTPMiddleware" in (getattr(node, "id", ""), getattr(node, "attr", ""))
        or (
            isinstance(node, ast.ImportFrom)
            and any(alias.name == "BaseHTTPMiddleware" for alias in node.names)
        )
    ]
    assert users == []


def test_money_is_never_a_float() -> None:
    """A name that speaks of money is not annotated or converted as a float."""
    money = re.compile(r"usd|cost|price|amount|budget", re.IGNORECASE)
    # A share or a duration of something that costs money is not money.
    not_money = re.compile(r"seconds|ratio|share|factor", re.IGNORECASE)
    faults = []
    for path in python_files("src", "examples"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.arg):
                name, annotation, line = node.arg, node.annotation, node.lineno
            elif isinstance(node, ast.AnnAssign):
                name, annotation, line = ast.unparse(node.target), node.annotation, node.lineno
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name, annotation, line = node.name, node.returns, node.lineno
            else:
                continue
            is_float = annotation is not None and re.search(r"\bfloat\b", ast.unparse(annotation))
            if is_float and money.search(name) and not not_money.search(name):
                faults.append(shown(path, line))
    assert faults == []


# ------------------------------------------------------------------------------------------ the repository


def test_nothing_names_a_machine_or_a_registry() -> None:
    """The project can be built anywhere: no path of a machine and no package registry's host stands in a file."""
    dot = r"\."
    hosts = "|".join(
        [f"pypi{dot}org", f"pythonhosted{dot}org", f"registry{dot}npmjs", f"deb{dot}debian{dot}org"]
    )
    homes = r"work|farm|root|home/\w+|Users/\w+|opt/(?:pypi|wheels)"
    forbidden = re.compile(rf"{hosts}|(?<![\w.~/:-])/(?:{homes})/")
    faults = []
    for path in project_files():
        if path.suffix in {".png", ".ico", ".gz", ".whl"} or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if forbidden.search(line):
                faults.append(f"{shown(path, number)}: {line.strip()[:120]}")
    assert faults == []


@pytest.mark.parametrize("name", ["core", "demo", "dev"])
def test_lock_is_pinned_and_hashed(name: str) -> None:
    """Every requirement of a lock has one version and at least one hash, and none is a URL or a path."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(entries) > 10
    wrong = [
        e.split()[0]
        for e in entries
        if not re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", e) or "--hash=sha256:" not in e
    ]
    assert wrong == []
    assert "://" not in text


def test_all_is_every_extra() -> None:
    """`fastapi-prodkit[all]` misses nothing."""
    extras = dict(PYPROJECT["project"]["optional-dependencies"])
    (everything,) = extras.pop("all")
    assert everything == f"fastapi-prodkit[{','.join(extras)}]"
    assert {"redis", "jwt", "sentry", "otel", "postgres", "prices"} <= set(extras)


def test_version_has_one_source() -> None:
    """The module, the metadata and pyproject.toml agree, and the changelog knows the version or has it under way."""
    version = PYPROJECT["project"]["version"]
    assert prodkit.__version__ == importlib.metadata.version("fastapi-prodkit") == version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog


def test_gate_runs_on_every_python_we_claim() -> None:
    """The versions in the classifiers are those the workflow runs, and `requires-python` begins with the first."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    classifiers = [
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", c)
        for c in PYPROJECT["project"]["classifiers"]
    ]
    claimed = [match[1] for match in classifiers if match]
    assert workflow["jobs"]["gate"]["strategy"]["matrix"]["python"] == claimed
    assert PYPROJECT["project"]["requires-python"] == f">={claimed[0]}"


def test_problem_types_lead_to_the_documentation() -> None:
    """The base of type URIs is the address of the site, where each type has its page at the root."""
    # The configuration names Python objects, which are not of interest here.
    text = re.sub(r"!!python/name:\S+", "null", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert yaml.safe_load(text)["site_url"] == TYPE_BASE
    assert {"quota-exceeded.md", "not-found.md"} <= set(generated())


def test_nobody_is_told_to_install_the_namesake() -> None:
    """`prodkit` on the public index is somebody else's package: only `fastapi-prodkit` may stand after an install command."""
    told = re.compile(
        r"(?:pip|uv|poetry|pdm|conda)\s+(?:pip\s+)?(?:install|add)\s+(?:-\S+\s+)*[\"']?prodkit\b"
    )
    faults = [
        shown(path)
        for path in project_files()
        if path.suffix in {".md", ".py", ".toml"} and told.search(path.read_text("utf-8"))
    ]
    assert faults == []
