"""`prodkit env`: a complete `.env.example`, generated from the settings."""

from __future__ import annotations

import argparse
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Final

from prodkit.core.environment import SECRETS_DIR, Variable, variables_of
from prodkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.cli.console import Commands, Console

__all__ = ["register", "render"]

_WIDTH: Final = 100

_HEADER: Final = """\
Every setting of a hardened application, with its default. Made by `prodkit env`; copy it to .env and uncomment what
you change. A variable of the environment wins over one in .env, and .env over a file of the secrets directory.
Lists and mappings are written as JSON. A name with the prefix PRODKIT_ that is not listed here refuses the start."""


def register(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add `prodkit env`."""
    parser = commands.add_parser(
        "env",
        parents=[shared],
        help="print a complete .env.example",
        description="Print every setting, commented out, with its meaning, type and default. Secrets have no value.",
        epilog="examples:\n  prodkit env > .env.example\n  prodkit env | diff .env.example -",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print it; always good."""
    del arguments
    console.write(render())
    return 0


def render() -> str:
    """The text of `.env.example`, without a newline at its end; the same for the same settings."""
    blocks = [_comment(_HEADER)]
    for section, variables in groupby(variables_of(Settings), key=lambda variable: variable.section):
        title = section or "general"
        blocks.append(f"# {f' {title} '.center(_WIDTH - 2, '-')}")
        blocks.extend("\n".join(_lines(variable)) for variable in variables)
        if not section:
            blocks.append("\n".join(_lines(_SECRETS)))
    return "\n\n".join(blocks)


_SECRETS: Final = Variable(
    name=SECRETS_DIR,
    section="",
    field="secrets_dir",
    type_text="text",
    default="/run/secrets",
    description="A directory whose files are named as these variables and hold their values. One that is named here "
    "has to exist; the default one, where Docker mounts secrets, has not.",
    is_secret=False,
    is_mapping=False,
)


def _lines(variable: Variable) -> Iterator[str]:
    yield _comment(variable.description)
    facts = f"Type: {variable.type_text}."
    facts += f" Default: {variable.default}" if variable.default else " No default."
    yield _comment(facts)
    yield f"# {variable.name}={'' if variable.is_secret else _quoted(variable.default)}"


def _comment(text: str) -> str:
    wrapped = textwrap.wrap(
        " ".join(text.split()), _WIDTH - 2, break_on_hyphens=False, break_long_words=False
    )
    return "\n".join(f"# {line}" for line in wrapped)


def _quoted(value: str) -> str:
    """*value* as python-dotenv reads it back; quoted only where it has to be, as others keep the quotes."""
    if (
        value.startswith(("'", '"', "`"))
        or value != value.strip()
        or " #" in value
        or "$" in value
        or "\n" in value
    ):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return value
