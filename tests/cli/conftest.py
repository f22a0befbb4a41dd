"""Commands about a ledger in the working directory."""

from __future__ import annotations

import pytest

from prodkit.cli import main


@pytest.fixture
def usage(tmp_path, monkeypatch, capsys):
    """Runs `prodkit usage`; the answer is the code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRODKIT_STORE", "sqlite:///ledger.db")

    def run(*words):
        code = main(["usage", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return run
