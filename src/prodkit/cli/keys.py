"""`prodkit keys`: issue, list, replace, revoke and import API keys where the application keeps them."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from prodkit.api_keys import (
    APIKeys,
    KeyRegistry,
    KeyStateError,
    KeyTermsError,
    UnfitKeysError,
    read_keys,
)
from prodkit.api_keys.bodies import Key, NewKey
from prodkit.api_keys.registry import DEFAULT_OVERLAP
from prodkit.cli.arguments import DiscreetParser
from prodkit.cli.console import RefusedError, UsageError
from prodkit.cli.target import kit_or_none, load
from prodkit.core.exceptions import StoreError
from prodkit.settings import Settings
from prodkit.stores.durable_urls import open_keys
from prodkit.stores.memory import MemoryKeyStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prodkit.api_keys import IssuedKey
    from prodkit.cli.console import Commands, Console
    from prodkit.stores import KeyRecord

    Action = Callable[[KeyRegistry, argparse.Namespace, Console], Awaitable[int]]

__all__ = ["register"]

_PAGE: Final = 500
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw])")
_MOST_BYTES: Final = 256 * 1024 * 1024


def register(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add `prodkit keys` and what can be done with them."""
    parser = commands.add_parser(
        "keys",
        help="issue, list, replace, revoke and import API keys",
        description="Administer the API keys of an application: those in the store of PRODKIT_API_KEYS__STORE or PRODKIT_STORE,\n"
        "hashed with PRODKIT_API_KEYS__PEPPERS. A new key goes to standard output, once, and everything else elsewhere.",
        epilog="examples:\n"
        "  prodkit keys create shop --scope orders:read --expires-in 90d\n"
        "  prodkit keys rotate 4fKq0ZpL9xYb --overlap 7d | vault kv put secret/shop key=-\n"
        "  prodkit keys list --json | jq -r '.keys[] | select(.last_used_at == null) | .id'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document")
    common.add_argument(
        "--app",
        metavar="MODULE:ATTR",
        help="take store and peppers from this application, imported from here",
    )
    # Cast: argparse types its parents as of the same class, and takes any.
    actions = cast(
        "Commands",
        parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=DiscreetParser),
    )

    def add(name: str, action: Action, text: str) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name, parents=[shared, common], help=text, description=f"{text.capitalize()}.", allow_abbrev=False
        )
        made.set_defaults(run=_run, act=action)
        return made

    create = add("create", _create, "issue a key and print it once")
    create.add_argument("owner", metavar="OWNER", help="the principal the key acts for")
    create.add_argument("--scope", action="append", default=[], help="what it may do; repeat for more")
    create.add_argument("--tenant", help="the tenant of the owner")
    create.add_argument("--plan", help="the plan whose limits apply")
    create.add_argument("--name", default="", help="what people call the key")
    create.add_argument("--network", action="append", default=[], help="where from, as CIDR; repeat for more")
    create.add_argument("--expires-in", metavar="TIME", type=_duration, help="30m, 12h, 90d; default: as set")
    create.add_argument("--not-before", metavar="WHEN", type=_moment, help="ISO 8601 with an offset, or Z")
    listing = add("list", _list, "list keys by id")
    listing.add_argument("--tenant", help="only those of this tenant")
    show = add("show", _show, "show one key without its secret")
    show.add_argument("id", metavar="ID")
    rotate = add("rotate", _rotate, "replace a key, and print the new one once")
    rotate.add_argument("id", metavar="ID")
    rotate.add_argument(
        "--overlap",
        metavar="TIME",
        type=_duration,
        default=DEFAULT_OVERLAP,
        help="both work so long; default 7d",
    )
    revoke = add("revoke", _revoke, "end a key now and for good")
    revoke.add_argument("id", metavar="ID")
    importing = add("import", _import, "take over keys of another system, once all of them are fit")
    importing.add_argument("file", metavar="FILE", help="JSON Lines or CSV; - for standard input")
    importing.add_argument(
        "--format", choices=("jsonl", "csv"), help="default: as the file is named, else jsonl"
    )
    importing.add_argument("--check", action="store_true", help="only say whether it can be imported")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    registry = _registry_of_app(arguments.app) if arguments.app else _registry_of_settings()
    if isinstance(registry.store, MemoryKeyStore):
        message = (
            "keys are kept in the memory of each process, where no other command can reach them: set "
            "PRODKIT_STORE=sqlite:///path/to/file.db for the application and for this command"
        )
        raise RefusedError(message)

    async def act() -> int:
        try:
            code: int = await arguments.act(registry, arguments, console)
        finally:
            await registry.store.aclose()
        return code

    try:
        return asyncio.run(act())
    except KeyTermsError as error:
        raise UsageError(str(error)) from None
    except (KeyStateError, UnfitKeysError) as error:
        raise RefusedError(str(error)) from None


def _registry_of_app(target: str) -> KeyRegistry:
    kit = kit_or_none(load(target))
    registry = None if kit is None else kit.one(KeyRegistry)
    if registry is None:
        message = f"{target} has no API keys: set PRODKIT_API_KEYS__PEPPERS, or give APIKeys(...) to harden(app, ...)"
        raise RefusedError(message)
    return registry


def _registry_of_settings() -> KeyRegistry:
    settings = Settings()
    if not settings.api_keys.is_on:
        message = "API keys are off: set PRODKIT_API_KEYS__PEPPERS, as the application has it (or name it with --app)"
        raise RefusedError(message)
    feature = APIKeys.from_settings(settings.api_keys)
    feature.registry.bind(open_keys(settings.api_keys.store or settings.store))
    return feature.registry


# ------------------------------------------------------------------------------------------------- actions


async def _create(registry: KeyRegistry, arguments: argparse.Namespace, console: Console) -> int:
    issued = await registry.issue(
        arguments.owner,
        scopes=arguments.scope,
        tenant=arguments.tenant,
        plan=arguments.plan,
        expires_in=arguments.expires_in,
        not_before=arguments.not_before,
        networks=arguments.network,
        name=arguments.name,
        created_by=_operator(),
    )
    _print_new(issued, arguments, console)
    return 0


async def _rotate(registry: KeyRegistry, arguments: argparse.Namespace, console: Console) -> int:
    issued = await registry.rotate(arguments.id, arguments.overlap, created_by=_operator())
    _print_new(issued, arguments, console)
    return 0


async def _list(registry: KeyRegistry, arguments: argparse.Namespace, console: Console) -> int:
    records: list[KeyRecord] = []
    page: Sequence[KeyRecord] | None = None
    while page is None or len(page) == _PAGE:
        after = records[-1].id if records else None
        page = await registry.list(tenant=arguments.tenant, after=after, limit=_PAGE)
        records.extend(page)
    keys = [_shown(record) for record in records]
    if arguments.json:
        console.json({"keys": [key.model_dump(mode="json") for key in keys]})
        return 0
    rows = [("ID", "STATE", "OWNER", "TENANT", "EXPIRES", "LAST USED", "NAME")]
    rows += [
        (
            key.id,
            key.state,
            key.owner,
            key.tenant or "-",
            _day(key.expires_at),
            _day(key.last_used_at),
            key.name,
        )
        for key in keys
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        console.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


async def _show(registry: KeyRegistry, arguments: argparse.Namespace, console: Console) -> int:
    key = _shown(await _existing(registry, arguments.id))
    if arguments.json:
        console.json(key.model_dump(mode="json"))
    else:
        for name, value in key.model_dump(mode="json").items():
            text = " ".join(value) if isinstance(value, list) else value
            console.write(f"{name:<14}{text if text not in (None, '') else '-'}")
    return 0


async def _revoke(registry: KeyRegistry, arguments: argparse.Namespace, console: Console) -> int:
    await _existing(registry, arguments.id)
    await registry.revoke(arguments.id)
    if arguments.json:
        console.json(_shown(await _existing(registry, arguments.id)).model_dump(mode="json"))
    else:
        console.error(f"{arguments.id} is revoked; every process refuses it within seconds")
    return 0


async def _import(registry: KeyRegistry, arguments: argparse.Namespace, console: Console) -> int:
    kind = arguments.format or ("csv" if arguments.file.lower().endswith(".csv") else "jsonl")
    # Splits at what ends a line in a file, and not at what may stand inside of JSON text.
    found = read_keys(_text_of(arguments.file).split("\n"), is_csv=kind == "csv")
    imported = 0
    if not arguments.check:
        operator = _operator()
        for number, key in enumerate(found):
            try:
                imported += await registry.adopt(key, created_by=operator)
            except StoreError as error:
                # Each is written by itself, so that callers' requests are served between two of them.
                message = f"{error}\n{number} of {len(found)} keys are here; do it again for the others"
                raise RefusedError(message) from None
    if arguments.json:
        console.json({"found": len(found), "imported": imported, "checked_only": arguments.check})
    elif arguments.check:
        console.error(f"{len(found)} keys can be imported; nothing was")
    else:
        console.error(f"{imported} keys imported, {len(found) - imported} were here already")
        console.error("they are accepted where PRODKIT_API_KEYS__ACCEPT_IMPORTED=true is set")
    return 0


# ------------------------------------------------------------------------------------------------- helpers


def _print_new(issued: IssuedKey, arguments: argparse.Namespace, console: Console) -> None:
    now = datetime.now(UTC).timestamp()
    key = NewKey.of(issued.record, now, key=issued.secret)
    if arguments.json:
        console.json(key.model_dump(mode="json"))
        return
    ends = "for ever" if key.expires_at is None else f"until {_day(key.expires_at)}"
    console.error(f"key {issued.record.id} of {issued.record.owner}, good {ends}; it is shown only now:")
    console.write(issued.secret)


async def _existing(registry: KeyRegistry, key_id: str) -> KeyRecord:
    record = await registry.get(key_id)
    if record is None:
        # Not repeated: what stands here by mistake may be a whole key.
        message = "there is no key of this id; it is the part between the last two underscores of a key"
        raise RefusedError(message)
    return record


def _shown(record: KeyRecord) -> Key:
    return Key.of(record, datetime.now(UTC).timestamp())


def _text_of(file: str) -> str:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            message = f"the file is larger than {_MOST_BYTES // 1024 // 1024} MB: split it"
            raise RefusedError(message)
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        message = f"the file cannot be read: {reason}"
        raise RefusedError(message) from None


def _operator() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return "cli"
    return f"cli:{name}"


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None and text != "0":
        message = "that is no time: write it as 45s, 30m, 12h, 90d or 2w"
        raise argparse.ArgumentTypeError(message)
    return timedelta(seconds=0 if match is None else int(match[1]) * _SECONDS[match[2]])


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        message = "that is no moment: write it as 2027-01-01T00Z"
        raise argparse.ArgumentTypeError(message)
    return moment


def _day(moment: Any) -> str:  # Any: a datetime or None
    return "-" if moment is None else moment.isoformat(timespec="minutes").replace("+00:00", "Z")
