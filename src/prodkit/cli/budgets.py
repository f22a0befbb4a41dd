"""`prodkit budgets`: which budgets there are, how far they are spent, and what operators change in them."""

from __future__ import annotations

import argparse
import getpass
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from prodkit.budgets.administration import adjust_budget, attributes_in, counted, find_budgets
from prodkit.budgets.bodies import resets_at
from prodkit.cli.arguments import DiscreetParser
from prodkit.cli.console import RefusedError, UsageError
from prodkit.cli.files import table
from prodkit.cli.ledgers import add_place, with_books
from prodkit.core.money import MOST_NANO, format_usd, parse_signed_usd
from prodkit.stores.ledger import LedgerConflictError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodkit.budgets.administration import Counted
    from prodkit.cli.console import Commands, Console
    from prodkit.cli.ledgers import Books

    Action = Callable[[Books, argparse.Namespace, Console], Awaitable[int]]

__all__ = ["register"]

_ID: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")


def register(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add `prodkit budgets` and what can be done with them."""
    parser = commands.add_parser(
        "budgets",
        help="list budgets, set their limits, put right what was counted",
        description="Administer the budgets of PRODKIT_BUDGETS__*, counted in the ledger of PRODKIT_METERING__STORE or PRODKIT_STORE;\n"
        "or those of --app. A budget's id is the policy's name and whose it is, such as default:ada@acme.",
        epilog="examples:\n"
        "  prodkit budgets list\n"
        "  prodkit budgets set default:ada@acme 25\n"
        "  prodkit budgets adjust default:ada@acme -0.25 --reason 'empty answers' --id ticket-1204",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Cast: argparse types its parents as of the same class, and takes any.
    actions = cast(
        "Commands",
        parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=DiscreetParser),
    )

    def add(name: str, action: Action, text: str, *, of_one: bool = True) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name, parents=[shared], help=text, description=f"{text.capitalize()}.", allow_abbrev=False
        )
        add_place(made)
        made.set_defaults(run=_run, act=action)
        if of_one:
            made.add_argument("budget", metavar="ID", help="policy:value")
        return made

    listing = add("list", _list, "show budgets in which something was spent or is held", of_one=False)
    listing.add_argument("--budget", metavar="ID", help="this one, also if nothing was")
    setting = add("set", _set, "set the limit of a budget, from its next admission on")
    setting.add_argument(
        "limit", metavar="LIMIT", help="USD, or units where it counts a unit; none: as its policy says"
    )
    adjusting = add("adjust", _adjust, "charge a budget, or give something back, in its open window")
    adjusting.add_argument(
        "amount", metavar="AMOUNT", type=_amount, help="USD, negative for a credit; or whole units"
    )
    adjusting.add_argument("--reason", required=True, help="kept with the entry")
    adjusting.add_argument("--id", metavar="ID", type=_entry_id, help="with the same again it is done once")
    resetting = add("reset", _reset, "give back all that was spent in the open window, as a credit")
    resetting.add_argument("--reason", required=True, help="kept with the entry")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    async def act(books: Books) -> int:
        if not any(True for _ in books.policies):
            message = (
                "there are no budgets: set PRODKIT_BUDGETS__DEFAULT or PRODKIT_BUDGETS__POLICIES, as the application has them "
                "(or name it with --app)"
            )
            raise RefusedError(message)
        code: int = await arguments.act(books, arguments, console)
        return code

    return with_books(arguments, act)


# ------------------------------------------------------------------------------------------------- actions


async def _list(books: Books, arguments: argparse.Namespace, console: Console) -> int:
    if arguments.budget is None:
        found = await find_budgets(books.ledger, books.policies, _now())
    else:
        found = [await _one(books, arguments.budget)]
    if arguments.json:
        console.json({"budgets": [_shown(one) for one in found]})
        return 0
    rows: list[tuple[str, ...]] = [
        ("ID", "WINDOW", "COUNTS", "LIMIT", "SPENT", "HELD", "REMAINING", "RESETS AT")
    ]
    for one in found:
        shown = _shown(one)
        names = ("id", "window", "unit", "limit", "spent", "held", "remaining", "resets_at")
        rows.append(tuple("-" if shown[name] is None else str(shown[name]) for name in names))
    table(console, rows, right=frozenset({3, 4, 5, 6}))
    return 0


async def _set(books: Books, arguments: argparse.Namespace, console: Console) -> int:
    old = await _one(books, arguments.budget)
    limit = None if arguments.limit == "none" else _read(arguments.limit, old, "limit")
    if limit is not None and limit < 0:
        message = "a limit is 0 or more"
        raise UsageError(message)
    await books.ledger.set_limit(arguments.budget, limit)
    new = await _one(books, arguments.budget)
    _tell(new, f"limit {_text(old.limit, old)} -> {_text(new.limit, new)}", arguments, console)
    return 0


async def _adjust(books: Books, arguments: argparse.Namespace, console: Console) -> int:
    budget = await _one(books, arguments.budget)
    amount = _read(arguments.amount, budget, "amount")
    if not amount:
        message = "an amount of 0 changes nothing"
        raise UsageError(message)
    return await _count(books, budget, amount, arguments, console, entry=arguments.id)


async def _reset(books: Books, arguments: argparse.Namespace, console: Console) -> int:
    budget = await _one(books, arguments.budget)
    if not budget.account.settled_nano:
        _tell(budget, "nothing was spent; nothing is changed", arguments, console)
        return 0
    return await _count(books, budget, -budget.account.settled_nano, arguments, console)


async def _count(
    books: Books,
    budget: Counted,
    amount: int,
    arguments: argparse.Namespace,
    console: Console,
    *,
    entry: str | None = None,
) -> int:
    try:
        made = await adjust_budget(
            books.ledger,
            budget,
            amount,
            reason=f"{arguments.reason} (by {_operator()})",
            entry=entry,
            attributes=attributes_in(budget.policy, budget.ask.budget, None),
        )
    except LedgerConflictError as error:
        message = f"nothing was changed: {error}"
        raise RefusedError(message) from None
    _tell(await _one(books, arguments.budget), f"{_text(amount, budget)} as {made.hold}", arguments, console)
    return 0


# ------------------------------------------------------------------------------------------------- helpers


async def _one(books: Books, budget: str) -> Counted:
    policy = books.policies.policy_of(budget)
    if policy is None:
        names = ", ".join(policy.name for policy in books.policies)
        message = f"there is no such budget: ids are policy:value, with a policy of {names}"
        raise RefusedError(message)
    (found,) = await counted(books.ledger, books.policies, [(policy, budget)], _now())
    return found


def _shown(one: Counted) -> dict[str, object]:
    return {
        "id": one.ask.budget,
        "policy": one.policy.name,
        "per": one.policy.per,
        "window": one.policy.window,
        "unit": one.ask.unit or "usd",
        "limit": _text(one.limit, one),
        "spent": _text(one.account.settled_nano, one),
        "held": _text(one.account.held_nano, one),
        "remaining": _text(one.left, one),
        "resets_at": resets_at(one),
    }


def _tell(one: Counted, text: str, arguments: argparse.Namespace, console: Console) -> None:
    if arguments.json:
        console.json(_shown(one))
    else:
        console.error(f"{one.ask.budget}: {text}")


def _text(amount: int | None, one: Counted) -> str | None:
    """An amount as its budget counts: a decimal string of USD, or of whole units."""
    if amount is None:
        return None
    return str(amount) if one.ask.unit else format_usd(amount)


def _read(text: str, one: Counted, what: str) -> int:
    try:
        amount = int(text) if one.ask.unit else parse_signed_usd(text)
    except ValueError:
        amount = None
    if amount is None or abs(amount) > MOST_NANO:
        kind = f"a whole number of {one.ask.unit}" if one.ask.unit else "USD such as 1.50"
        message = f"that is no {what}: write {kind}"
        raise UsageError(message)
    return amount


def _amount(text: str) -> str:
    if re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,9})?", text) is None:
        message = "that is no amount: write USD such as -1.50"
        raise argparse.ArgumentTypeError(message)
    return text


def _entry_id(text: str) -> str:
    if _ID.fullmatch(text) is None:
        message = "an id has 1 to 64 characters of [A-Za-z0-9._-]"
        raise argparse.ArgumentTypeError(message)
    return text


def _operator() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return "cli"
    return f"cli:{name}"


def _now() -> float:
    return datetime.now(UTC).timestamp()
