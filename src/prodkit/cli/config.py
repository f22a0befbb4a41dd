"""`prodkit config`: the effective settings with their origin, and what is installed in an application."""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from prodkit.cli.installed import (
    absent_features,
    process_facts,
    request_order,
    settings_of,
    static_headers,
    watchers,
)
from prodkit.cli.origins import effective_settings, ignored_variables
from prodkit.cli.target import kit_or_none, load
from prodkit.core.exceptions import SettingsError
from prodkit.core.routes import refuse_idle_rules
from prodkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.cli.console import Commands, Console
    from prodkit.cli.origins import Effective
    from prodkit.core.features import Kit

__all__ = ["register"]


def register(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add `prodkit config`."""
    parser = commands.add_parser(
        "config",
        parents=[shared],
        help="show the effective settings, their origin, and the installed order",
        description="Show every setting with the place its value comes from; secrets are masked. With --app also what is\n"
        "installed in an application, in the order a request meets it. Exit code 1 when a setting is wrong.",
        epilog="examples:\n  prodkit config\n  prodkit config --app shop.main:app\n"
        "  prodkit config --json | jq -r '.settings[] | select(.origin != \"default\") | .name'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--app", metavar="MODULE:ATTR", help="an application or a factory of one, imported from here"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print it; 1 when the settings are refused, or the application cannot be loaded."""
    application = kit = None
    try:
        if arguments.app:
            application = load(arguments.app)
            kit = kit_or_none(application)
            if kit is not None:
                refuse_idle_rules(kit)
        settings = (settings_of(kit) if kit else None) or Settings()
    except SettingsError as error:
        return _refused(error, arguments, console)
    report = _report(settings, kit, application, arguments.app)
    if arguments.json:
        console.json(report)
    else:
        _print(report, console)
    return 0


def _refused(error: SettingsError, arguments: argparse.Namespace, console: Console) -> int:
    if arguments.json:
        faults = [{"name": f.name, "message": f.message, "cure": f.cure} for f in error.faults]
        console.json({"errors": faults})
        return 1
    console.error(str(error))
    if not arguments.app:
        console.error(
            "Settings of features that your application brings are known only with --app MODULE:ATTR."
        )
    return 1


def _report(settings: Settings, kit: Kit | None, application: Any, target: str | None) -> dict[str, Any]:
    """Everything there is to say, in terms of JSON."""
    effective = effective_settings(settings, kit)
    report: dict[str, Any] = {
        "settings": [
            {"name": one.name, "section": one.section, "value": one.value, "origin": one.origin}
            for one in effective
        ],
        "warnings": list(_warnings(effective, settings, kit, target)),
        "errors": [],
    }
    if kit is not None:
        report["process"] = process_facts(settings, kit)
        report["order"] = [
            {"place": line.place, "feature": line.feature, "text": line.text}
            for line in request_order(kit, application)
        ]
        report["observers"] = [{"feature": feature, "event": event} for feature, event in watchers(kit)]
        report["response_headers"] = static_headers(kit)
    return report


def _warnings(
    effective: Sequence[Effective], settings: Settings, kit: Kit | None, target: str | None
) -> Iterable[str]:
    if target and kit is None:
        yield f"{target} is not hardened: call harden(app) where it is built"
    if kit is None:
        return
    absent = absent_features(kit)
    if absent:
        yield f"not configured, hence off: {', '.join(absent)}"
    for name, section in ignored_variables(effective):
        yield f"{name} is set and has no effect: the application gives {section or 'it'} in code"
    if settings.store.startswith("memory:"):
        yield "the store is memory://: with several workers every limit holds for each of them alone"


def _print(report: dict[str, Any], console: Console) -> None:
    width = max(len(one["name"]) for one in report["settings"])
    for section, settings in groupby(report["settings"], key=lambda one: one["section"]):
        console.write(console.styled(section or "general", "bold"))
        for one in settings:
            line = f"  {one['name']:{width}}  {_text(one['value'])}"
            is_default = one["origin"] == "default"
            console.write(console.styled(line, "dim") if is_default else f"{line}  ({one['origin']})")
        console.write("")
    if "order" in report:
        _print_installed(report, console)
    for warning in report["warnings"]:
        console.warning(warning)


def _print_installed(report: dict[str, Any], console: Console) -> None:
    console.write(console.styled("order, outermost first", "bold"))
    for place, lines in groupby(report["order"], key=lambda line: line["place"]):
        for position, line in enumerate(lines):
            console.write(
                f"  {place if position == 0 else '':10}  {line['feature']:18}  {line['text']}".rstrip()
            )
    console.write("")
    console.write(console.styled("observers", "bold"))
    for feature, observers in groupby(report["observers"], key=lambda one: one["feature"]):
        console.write(f"  {feature:18}  {', '.join(one['event'] for one in observers)}")
    console.write("")
    console.write(console.styled("static response headers", "bold"))
    for name, value in report["response_headers"].items():
        console.write(f"  {name}: {value}")
    console.write("")
    console.write(console.styled("process", "bold"))
    for name, value in report["process"].items():
        console.write(f"  {name:18}  {value}")
    console.write("")


def _text(value: object) -> str:
    if value is None:
        return "(none)"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
