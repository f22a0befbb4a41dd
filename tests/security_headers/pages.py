"""The smallest applications with pages, and what their answers say."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.installation import install
from prodkit.proxies import Proxies
from prodkit.security_headers import SecurityHeaders

CSP = "content-security-policy"


def client_of(
    app: FastAPI, *features: Any, base_url: str = "http://testserver", **options: Any
) -> TestClient:
    """*app* with security headers, whose client is a trusted proxy."""
    install(app, Proxies(trusted_proxies=["10.0.0.0/8"]), SecurityHeaders(**options), *features)
    return TestClient(app, base_url=base_url, client=("10.0.0.1", 1), raise_server_exceptions=False)


def policy_of(response: Any, name: str = CSP) -> dict[str, list[str]]:
    """The one policy of *response*, by directive; fails where there are two, since browsers would enforce both."""
    (policy,) = response.headers.get_list(name)
    return {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}


def is_web(response: Any) -> bool:
    """Whether the policy is that of the preset `web`; fails where it is neither that nor `api`."""
    policy = policy_of(response)
    assert policy["default-src"] == ["'none'"]
    assert policy["frame-ancestors"] == ["'none'"]
    return policy.get("script-src") == ["'self'"]
