"""Vulnerabilities we know of and ignore: for a reason, and not for ever."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from scripts import advisories
from tests.house.tree import ROOT


def test_what_is_ignored_is_known_by_name_and_reason() -> None:
    """Each entry names an advisory, a package that stands in a lock, and why it does no harm here."""
    locks = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "requirements").glob("*.txt"))
    entries = advisories.ignored()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"(CVE|GHSA|PYSEC)-[A-Za-z0-9\-]+", str(entry["id"]))
        assert re.search(rf"^{entry['package']}==", locks, re.MULTILINE), (
            "it is not installed: remove the entry"
        )
        assert len(str(entry["reason"])) > 100


def test_nothing_is_ignored_for_ever() -> None:
    """When its day has come this fails, and somebody looks; no day is more than a year away."""
    today = datetime.now(UTC).date()
    assert advisories.overdue(today) == []
    for entry in advisories.ignored():
        expires = entry["expires"]
        assert isinstance(expires, date)
        assert expires - today < timedelta(days=366)


def test_an_entry_that_is_overdue_is_told(monkeypatch, capsys) -> None:
    """The command then gives no options, so that a scan cannot pass without the look."""
    day = {"id": "CVE-1", "expires": date(2020, 1, 1)}
    monkeypatch.setattr(advisories, "ignored", lambda: [day])
    assert advisories.main() == 1
    assert capsys.readouterr().out == ""
