"""The settings on the page do what the page says, for requests as each proxy sends them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import CurrentContext, harden
from tests.proxies.page import PAGE, blocks, environment

CALLER = "198.51.100.7"
CLAIM = "6.6.6.6"
HTTPS = {"X-Forwarded-Proto": "https"}
CASES: list[tuple[str, int, str, dict[str, str], str | None]] = [
    ("nginx", 0, "127.0.0.1", {"X-Forwarded-For": CALLER, **HTTPS}, CALLER),
    ("nginx", 0, "10.9.9.9", {"X-Forwarded-For": CALLER, **HTTPS}, None),
    ("Two proxies in a row", 0, "127.0.0.1", {"X-Forwarded-For": f"{CLAIM}, {CALLER}, 10.0.1.4", **HTTPS}, CALLER),
    ("Two proxies in a row", 0, "127.0.0.1", {"X-Forwarded-For": f"{CLAIM}, {CALLER}, 10.0.2.4", **HTTPS}, "10.0.2.4"),
    ("Envoy", 0, "10.0.2.3", {"X-Forwarded-For": f"{CLAIM},{CALLER}", **HTTPS}, CALLER),
    ("Envoy", 0, "10.0.2.99", {"X-Forwarded-For": f"{CLAIM},{CALLER}", **HTTPS}, None),
    ("AWS Application Load Balancer", 0, "10.0.17.1", {"X-Forwarded-For": f"{CLAIM}, {CALLER}", **HTTPS}, CALLER),
    ("AWS Application Load Balancer", 0, "10.0.33.1", {"X-Forwarded-For": f"{CALLER}:49152", **HTTPS}, CALLER),
    ("AWS Application Load Balancer", 0, "10.0.48.1", {"X-Forwarded-For": CALLER, **HTTPS}, None),
    ("Cloudflare", 0, "127.0.0.1", {"CF-Connecting-IP": CALLER, "X-Forwarded-For": CLAIM, **HTTPS}, CALLER),
    ("Cloudflare", 1, "104.16.1.1", {"CF-Connecting-IP": "2001:db8::7", "X-Forwarded-For": CLAIM, **HTTPS}, "2001:db8::7"),
    ("Cloudflare", 1, "2a06:98c0:3600::1", {"CF-Connecting-IP": CALLER, **HTTPS}, CALLER),
    ("Cloudflare", 1, "198.51.100.9", {"CF-Connecting-IP": CALLER, **HTTPS}, None),
    ("Kubernetes", 0, "10.244.3.1", {"X-Forwarded-For": CALLER, **HTTPS}, CALLER),
]  # fmt: skip


def behind(section: str, number: int, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """An application with the settings of *section*, as an operator would set them."""
    for name, value in environment(blocks(section, "ini")[number]).items():
        monkeypatch.setenv(name, value)
    app = FastAPI()

    @app.get("/")
    async def home(context: CurrentContext) -> list[str]:
        return [str(context.client_ip), context.scheme]

    harden(app)
    return app


@pytest.mark.parametrize(("section", "number", "peer", "headers", "caller"), CASES)
def test_settings_fit_the_proxy(
    section: str,
    number: int,
    peer: str,
    headers: dict[str, str],
    caller: str | None,
    monkeypatch: pytest.MonkeyPatch,
):
    """Through the proxy the caller and https are seen; past it the claim of https alone is refused."""
    app = behind(section, number, monkeypatch)
    answer = TestClient(app, client=(peer, 40000)).get("/", headers={"Host": "api.example.com", **headers})
    if caller is None:
        assert (answer.status_code, answer.json()["title"]) == (403, "HTTPS Required")
    else:
        assert answer.json() == [caller, "https"]


def test_every_section_is_tested():
    """No settings stand on the page that nothing runs, and probes pass all of them."""
    text = PAGE.read_text(encoding="utf-8")
    found = {
        (section, number)
        for section in re.findall(r"^## (.+)$", text, re.MULTILINE)
        for number in range(len(blocks(section, "ini")))
    }
    assert found == {(section, number) for section, number, *_ in CASES}


@pytest.mark.parametrize(("section", "number"), sorted({(section, number) for section, number, *_ in CASES}))
def test_probes_pass(section: str, number: int, monkeypatch: pytest.MonkeyPatch):
    """A health check by address and over http is answered with each of these settings; a page is not."""
    client = TestClient(behind(section, number, monkeypatch), client=("10.0.0.77", 40000))
    assert client.get("/livez", headers={"Host": "10.244.1.17:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "10.244.1.17:8000"}).status_code == 400


def test_envoy_configuration_is_what_it_says():
    """The block is YAML, and has the parts that the text relies on."""
    (block,) = blocks("Envoy", "yaml")
    (filter_,) = yaml.safe_load(block)
    manager: dict[str, Any] = filter_["typed_config"]
    assert manager["use_remote_address"] is True
    assert manager["request_headers_timeout"] == "10s"
    assert [entry["name"].rpartition(".")[2] for entry in manager["http_filters"]] == ["buffer", "router"]
    assert manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["timeout"] == "0s"
