"""What an operator sets for the reference application: `RESEARCH_*`. Everything about hardening is `PRODKIT_*`."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ResearchSettings"]


class ResearchSettings(BaseSettings):
    """Where the agents look things up, and how long that may take."""

    model_config = SettingsConfigDict(
        env_prefix="RESEARCH_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    parallel_api_key: SecretStr = Field(
        description="Key for Parallel, or the token of the local server. Required; there is no default.",
    )
    parallel_base_url: str = Field(
        "https://api.parallel.ai",
        description="Base URL of Parallel or of a server that speaks its protocol. Default: Parallel itself.",
    )
    upstream_timeout_seconds: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Seconds one search may take. Default 20: below the request deadline of 30, so that the answer can "
        "say what was slow.",
    )
    heartbeat_seconds: float = Field(
        10.0,
        gt=0,
        le=60,
        description="Seconds of silence after which a stream sends a comment, so that proxies keep it open. Default 10: "
        "a third of the shortest idle timeout in common proxies.",
    )

    @field_validator("parallel_base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = "must be an http or https URL with a host"
            raise ValueError(message)
        if parts.username or parts.password:
            message = "must not hold credentials; the key goes into RESEARCH_PARALLEL_API_KEY"
            raise ValueError(message)
        if parts.scheme == "http" and not self_hosted(value):
            message = "must be https unless it is on this machine: the key would cross the network readable"
            raise ValueError(message)
        return value.rstrip("/")

    @property
    def local(self) -> bool:
        """Whether the sources are on this machine."""
        return self_hosted(self.parallel_base_url)

    @property
    def engine(self) -> str:
        """What makes the answers, as each answer says. Neither is a language model."""
        return "local-extractive" if self.local else "parallel-search-extractive"


def self_hosted(url: str) -> bool:
    """Whether *url* names this machine."""
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
