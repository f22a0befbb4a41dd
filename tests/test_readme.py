"""The README shows what really happens."""

from __future__ import annotations

import importlib.util
import re
import secrets
import shlex
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import harden
from prodkit.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    specification = importlib.util.spec_from_file_location(
        "before_after", ROOT / "scripts" / "before_after.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    made: dict[str, str] = module.blocks()
    return made


@pytest.mark.parametrize("name", ["before", "after", "log"])
def test_outputs_are_real(blocks, name):
    """Each output in the README is what the script produces now (`python scripts/before_after.py --write`)."""
    assert blocks[name]
    assert f"\n{blocks[name]}\n```\n<!-- end -->" in README.partition(f"<!-- {name} -->")[2]


def test_the_secret_of_the_example_is_shown_before_and_not_after(blocks):
    """What the caller sent and what the exception said stand in the bare answers or nowhere."""
    assert "hunter2" in blocks["before"].partition("-> 422")[2]
    assert "hunter2" not in blocks["after"].partition("-> 422")[2]
    assert "s3cret" not in blocks["after"]


def test_four_lines_are_enough():
    """The first block of code is four lines, and it is executed as printed by the documentation tests."""
    code = README.partition("```python\n")[2].partition("```")[0]
    assert [line for line in code.splitlines() if line] == [
        "from fastapi import FastAPI",
        "from prodkit import harden",
        "app = FastAPI()",
        "kit = harden(app)",
    ]


def commands(text: str) -> list[list[str]]:
    """What is typed into a shell in *text*, in words."""
    return [shlex.split(line) for line in re.findall(r"^ *\$ (.+)$", text, re.MULTILINE)]


def settings_in(words: list[str]) -> dict[str, str]:
    """The variables that *words* set."""
    return dict(word.split("=", 1) for word in words if word.startswith("PRODKIT_"))


def test_the_key_of_step_five_opens_the_door(monkeypatch, tmp_path, capsys):
    """Typed as shown, with a pepper in place of the dots, it prints a key that lets its owner in, and nobody else gets in."""
    monkeypatch.chdir(tmp_path)
    *exports, make = commands(README.partition("5. **Ask for a key**")[2].partition("\n6. ")[0])
    assert make[0] == "prodkit"
    assert len(exports) == 3
    pepper = secrets.token_hex(32)
    for name, value in settings_in([word for words in exports for word in words]).items():
        monkeypatch.setenv(name, value.replace("...", pepper))
    assert main(make[1:]) == 0
    key = capsys.readouterr().out.strip()
    app = FastAPI()
    app.get("/")(lambda: "in")
    harden(app)
    with TestClient(app) as client:
        assert client.get("/", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert client.get("/").status_code == 401


def test_the_settings_of_the_steps_are_settings(monkeypatch, tmp_path):
    """What steps 2, 3 and 4 set is accepted, with the quotes a shell takes away."""
    monkeypatch.chdir(tmp_path)
    steps = README.partition("## Harden your own application")[2].partition("5. **Ask")[0]
    inline = [shlex.split(code) for code in re.findall(r"`(PRODKIT_[^`]+=[^`]+)`", steps)]
    found = settings_in([word for words in inline for word in words])
    assert set(found) == {"PRODKIT_PROXIES__TRUSTED_PROXIES", "PRODKIT_CORS__ORIGINS", "PRODKIT_STORE"}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert main(["config", "--json"]) == 0


def test_the_refusal_is_what_the_command_prints(monkeypatch, tmp_path, capsys):
    """A misspelt setting refuses as shown, word by word."""
    monkeypatch.chdir(tmp_path)
    start = README.index("$ PRODKIT_RATE_LIMITING__DEFUALT")
    command, _, output = README[start:].partition("```")[0].partition("\n")
    (words,) = commands(command)
    ((name, value),) = settings_in(words).items()
    monkeypatch.setenv(name, value)
    assert words[1] == "prodkit"
    assert main(words[2:]) == 1
    assert capsys.readouterr().err == output


def test_settings_in_shell_commands_are_quoted():
    """A list or an object without single quotes would lose its double ones, in every page."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    values = [
        value
        for page in pages
        for value in re.findall(r"\bPRODKIT_[A-Z_]+=(\S)", page.read_text(encoding="utf-8"))
    ]
    assert values.count("'") >= 8
    assert not set(values) & set('[{"')


def test_the_page_of_the_example_is_complete():
    """The reference application's page names every setting there is, and every processor."""
    from examples.research_agents.catalogue import AGENTS
    from examples.research_agents.settings import ResearchSettings

    page = (ROOT / "examples" / "research_agents" / "README.md").read_text(encoding="utf-8")
    names = {f"RESEARCH_{name.upper()}" for name in ResearchSettings.model_fields}
    assert set(re.findall(r"RESEARCH_[A-Z_]+[A-Z]", page)) == names
    for agent in AGENTS.values():
        for processor in agent.processors:
            assert f"| `{processor.name}` |" in page
