"""Optional dependencies say what to install, and hide no other error."""

from __future__ import annotations

import sys

import pytest

from prodkit.core.exceptions import MissingExtraError
from prodkit.core.extras import require


def test_missing_package_names_the_pip_line():
    """The error is an ImportError that holds the line to run."""
    with pytest.raises(
        MissingExtraError, match=r"The Redis store needs not_there: pip install 'fastapi-prodkit\[redis\]'"
    ):
        require("not_there.sub", extra="redis", purpose="The Redis store")


def test_error_inside_an_installed_package_is_not_hidden(tmp_path, monkeypatch):
    """A package that is there and broken shows its own error."""
    (tmp_path / "broken_pkg.py").write_text("import something_it_lacks\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_lacks") as raised:
        require("broken_pkg", extra="x", purpose="X")
    assert not isinstance(raised.value, MissingExtraError)
    sys.modules.pop("broken_pkg", None)


def test_installed_package():
    """What is there is returned."""
    assert require("json", extra="x", purpose="X").loads("1") == 1
