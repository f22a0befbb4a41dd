"""Violations are reported to where the operator wants to know of them (ASVS 5.0, 3.4.7)."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from prodkit.security_headers import security_headers
from tests.security_headers.pages import CSP, client_of, policy_of


@pytest.mark.parametrize("url", ["/reports", "https://reports.example:8443/csp?app=1"])
def test_every_policy_says_where(url: str):
    """Presets, pages of the documentation, routes, and what is only reported, for browsers new and old."""
    app = FastAPI()

    @app.get("/own", dependencies=[security_headers(csp="default-src 'self'")])
    async def own() -> str:
        return "x"

    client = client_of(app, report_to=url, report_only="default-src 'none'", web_paths=["/"])
    for path in ("/", "/own", "/nowhere", "/docs"):
        answer = client.get(path)
        assert answer.headers["reporting-endpoints"] == f'csp="{url}"'
        for name in (CSP, f"{CSP}-report-only"):
            assert policy_of(answer, name)["report-to"] == ["csp"]
            assert policy_of(answer, name)["report-uri"] == [url]


def test_policies_that_report_elsewhere_stay():
    """An operator's own policy with its own place is not given another."""
    own = "default-src 'none'; report-to mine"
    client = client_of(FastAPI(), report_to="/reports", overrides={"Content-Security-Policy": own})
    assert client.get("/").headers[CSP] == own


def test_nothing_is_reported_unless_asked():
    """Reports contain addresses of pages: they are sent nowhere by default."""
    headers = client_of(FastAPI()).get("/").headers
    assert "reporting-endpoints" not in headers
    assert "report-" not in headers[CSP]
    assert f"{CSP}-report-only" not in headers
