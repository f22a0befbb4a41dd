"""Money is a whole number of nano-USD wherever it is kept, added, compared or passed on: no float, no true division, no rounding."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from prodkit.stores import sqlite_schema
from tests.house.tree import ROOT, python_files, shown

# What speaks of an amount, and what speaks of a time or a share of one.
MONEY = re.compile(
    r"nano|usd|amount|price|cost|charged|settled|drawn|spent|overrun|estimate(?!d)", re.IGNORECASE
)
NOT_MONEY = re.compile(r"seconds|ratio|share|factor|percent|_at$|age|price_book|on_store", re.IGNORECASE)
STORES = re.compile(
    r"accounting|spending|(memory|sqlite|redis|postgres)_(ledger|alerts|usage|history).*|ledger.*|sqlite_schema"
)

# Where money is a fraction for all that, and yet no float: a price is finer than a nano-USD, so what it comes to is a Decimal or a
# Fraction until it is rounded, once.
EXACT = {
    ("src/prodkit/core/money.py", "price * quantity * NANO_PER_USD / per"),
    ("src/prodkit/metering/invoices.py", "Decimal(MOST_NANO) / NANO_PER_USD"),
    ("src/prodkit/metering/reconciling.py", "round(side.nano)"),
    ("src/prodkit/metering/reconciling.py", "round(there.nano)"),
    ("src/prodkit/metering/shares.py", "Fraction(Decimal(price_usd)) * NANO_PER_USD / per"),
    ("src/prodkit/metering/shares.py", "amount_nano * weight / whole"),
    ("src/prodkit/metering/shares.py", "math.ceil(exact_nano(part))"),
    ("src/prodkit/metering/token_prices.py", "Fraction(price.price_usd) * _PER / price.per"),
    ("src/prodkit/metering/token_prices.py", "Fraction(usd_for_a_million) * count * NANO_PER_USD / _PER"),
    (
        "src/prodkit/metering/token_prices.py",
        "math.ceil(Fraction(usd_for_a_million) * count * NANO_PER_USD / _PER)",
    ),
}
# Where it is a float: metrics are read by eyes and alarms, and Prometheus knows no other numbers.
SHOWN = {
    ("src/prodkit/metering/tally.py", "nano / NANO_PER_USD"),
    ("src/prodkit/metering/tally.py", "self._overrun_nano / NANO_PER_USD"),
    ("src/prodkit/budgets/gauges.py", "value / NANO_PER_USD"),
}
EXCEPTIONS = EXACT | SHOWN


def paths_of_money() -> list[Path]:
    """The files in which money is counted."""
    return [path for path in python_files("src", "examples") if is_of_money(path)]


def is_of_money(path: Path) -> bool:
    """Whether money is counted in *path*."""
    parts = path.relative_to(ROOT).parts
    if parts[0] == "examples":
        return "engine" not in parts  # which weighs passages, not money
    area = parts[2]
    if area == "stores":
        return STORES.fullmatch(path.stem) is not None
    return area in {"metering", "budgets"} or parts[2:] in {("core", "money.py"), ("core", "events.py")}


def is_money(name: str) -> bool:
    """Whether *name* speaks of an amount."""
    return MONEY.search(name) is not None and NOT_MONEY.search(name) is None


def speaks_of_money(*nodes: ast.AST | None) -> bool:
    """Whether one of *nodes* has a name in it that does."""
    for root in nodes:
        for node in ast.walk(root) if root is not None else ():
            if isinstance(node, ast.Name) and is_money(node.id):
                return True
            if isinstance(node, ast.Attribute) and is_money(node.attr):
                return True
    return False


def has_fraction(*nodes: ast.AST | None) -> bool:
    """Whether one of *nodes* is a fraction written down, also behind a sign or within a sum."""
    kept = (ast.BinOp, ast.UnaryOp, ast.IfExp, ast.BoolOp, ast.Constant, ast.Tuple, ast.List)
    found = [node for node in nodes if isinstance(node, kept)]
    for node in found:
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            return True
        if has_fraction(*ast.iter_child_nodes(node)):
            return True
    return False


def says_float(annotation: ast.AST | None) -> bool:
    """Whether an annotation is of a float, or of something with floats in it."""
    return annotation is not None and re.search(r"\bfloat\b", ast.unparse(annotation)) is not None


def fault(node: ast.AST) -> bool:  # noqa: PLR0911  a kind of mistake each
    """Whether money becomes a fraction at *node*."""
    match node:
        case ast.arg(arg=name, annotation=annotation):
            return is_money(name) and says_float(annotation)
        case ast.AnnAssign(target=target, annotation=annotation, value=value):
            return speaks_of_money(target) and (says_float(annotation) or has_fraction(value))
        case ast.FunctionDef(name=name, returns=returns) | ast.AsyncFunctionDef(name=name, returns=returns):
            return is_money(name) and says_float(returns)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return speaks_of_money(left, right)
        case ast.BinOp(left=left, right=right):
            return speaks_of_money(left, right) and has_fraction(left, right)
        case ast.AugAssign(target=target, op=operation, value=value):
            return speaks_of_money(target, value) and (isinstance(operation, ast.Div) or has_fraction(value))
        case ast.Compare(left=left, comparators=others):
            return speaks_of_money(left, *others) and has_fraction(left, *others)
        case ast.Assign(targets=targets, value=value):
            return speaks_of_money(*targets) and has_fraction(value)
        case ast.keyword(arg=str(name), value=value):
            return is_money(name) and has_fraction(value)
        case ast.Call(func=called, args=arguments) if re.fullmatch(
            r"float|round|math\.\w+", ast.unparse(called)
        ):
            return speaks_of_money(*arguments)
    return False


def faults_of(source: str) -> list[tuple[int, str]]:
    """Line and text of each place in *source* where money becomes a fraction."""
    nodes = [node for node in ast.walk(ast.parse(source)) if fault(node)]
    return [(getattr(node, "lineno", 0), ast.unparse(node)) for node in nodes]


def test_money_is_a_whole_number_wherever_it_is_counted() -> None:
    """Nothing of ours makes a fraction of an amount, but for the places that say why; and each of these is still there."""
    excepted, faults = set(), []
    for path in paths_of_money():
        for line, text in faults_of(path.read_text(encoding="utf-8")):
            place = (shown(path), text)
            if place in EXCEPTIONS:
                excepted.add(place)
            else:
                faults.append(f"{shown(path, line)}: {text}")
    assert faults == []
    assert excepted == EXCEPTIONS


@pytest.mark.parametrize(
    "source",
    [
        "def charge(amount_nano: float): ...",
        "def cost() -> float: ...",
        "class Entry:\n    saved_nano: float",
        "limits: dict[str, int] = {}\nheld_nano: dict[str, float] = {}",
        "x = amount_nano / 2",
        "x = quantity / self.price",
        "x = amount_nano * 1.1",
        "x = total - (amount_nano + 0.5)",
        "charged_nano += 0.5",
        "charged_nano /= 2",
        "spent_usd = 0.0",
        "entry = Entry(amount_nano=-0.5)",
        "x = float(entry.amount_nano)",
        "x = round(cost * 2)",
        "x = math.ceil(price * 3)",
        "if amount_nano > 0.5: ...",
    ],
)
def test_what_makes_a_fraction_of_money_is_found(source: str) -> None:
    """The rule can fail: each of these is a fault."""
    assert faults_of(source)


@pytest.mark.parametrize(
    "source",
    [
        "x = amount_nano // 2 * 3",
        "x = lease_seconds / 3",
        "price_book_age_seconds: float = 0.0",
        "reserve(amount_nano, lease_seconds=60.0)",
        "if settled_nano * 100 >= percent * limit: ...",
        "def test(expires_at: float, amount_nano: int) -> None: ...",
    ],
)
def test_what_leaves_money_whole_is_not(source: str) -> None:
    """Nor are times, which are fractions, and stand beside amounts."""
    assert faults_of(source) == []


def test_files_of_money_are_found() -> None:
    """The files that matter are among those that are looked at."""
    names = {shown(path).removeprefix("src/prodkit/") for path in paths_of_money()}
    assert {
        "core/money.py",
        "metering/pricing.py",
        "metering/calls.py",
        "budgets/gauges.py",
        "stores/accounting.py",
        "stores/spending.py",
        "stores/ledger.py",
        "stores/memory_ledger.py",
        "stores/memory_history.py",
        "stores/sqlite_ledger_rows.py",
        "stores/redis_ledger.py",
    } <= names


def test_columns_of_money_hold_whole_numbers() -> None:
    """In SQLite a column takes what it is given unless it says otherwise: each says so."""
    text = "\n".join(statement for upgrade in sqlite_schema.UPGRADES for statement in upgrade)
    columns = re.findall(r"\b(\w+_nano) ([A-Z]+)\b", text)
    assert len(columns) > 6
    assert [(name, kind) for name, kind in columns if kind not in {"INTEGER", "TEXT"}] == []
    assert {kind for _, kind in columns} == {"INTEGER"}


def test_what_proves_the_promise_is_there():
    """Each test that the page on the guarantee names exists, as a file or as a function."""
    named = set(
        re.findall(r"`(?:tests/\w+/)?(test_\w+)(?:\.py)?`", (ROOT / "docs/explanation/money.md").read_text())
    )
    known = set()
    for path in python_files("tests", "src"):
        known.add(path.stem)
        known.update(re.findall(r"def (test_\w+)", path.read_text()))
    assert len(named) >= 9
    assert named <= known
