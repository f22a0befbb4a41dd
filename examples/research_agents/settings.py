"""What an operator sets for the reference application: `RESEARCH_*`. Everything about hardening is `PRODKIT_*`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.money import UsdString, format_usd, parse_usd, price_nano

__all__ = ["ResearchSettings", "read_settings", "self_hosted"]

# Finer than an amount of money: the price of a token has to be exact.
_Price = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,12})?$", max_length=19)]


class ResearchSettings(BaseSettings):
    """Where the agents look things up, where their state is, and how long what may take."""

    model_config = SettingsConfigDict(
        env_prefix="RESEARCH_",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),  # `model_*` is about a language model here
    )

    parallel_api_key: SecretStr = Field(
        description="Key for Parallel, or the token of the local server. Required; there is no default.",
    )
    parallel_base_url: str = Field(
        "https://api.parallel.ai",
        description="Base URL of Parallel or of a server that speaks its protocol. Default: Parallel itself.",
    )
    database_url: str = Field(
        "sqlite+aiosqlite:///.data/research.db",
        repr=False,
        description="Where sessions, messages, runs and documents are, as SQLAlchemy writes it. Default: a file under "
        ".data of the working directory.",
    )
    upstream_timeout_seconds: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Seconds one search may take. Default 20: who waits for one that takes longer has mostly left."
        "",
    )
    task_timeout_seconds: float = Field(
        600.0,
        gt=0,
        le=7200,
        description="Seconds one task run may take. Default 600: what Parallel says its processor pro needs at most.",
    )
    cache_seconds: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="Seconds for which what a search or a page answered is given again to the same tenant, and not paid again; "
        "the same question asked meanwhile waits for the one answer. Default 0: off, because an answer may be out of date for "
        "so long. A tenant's own documents are not kept: what is added or deleted counts for the next question.",
    )
    heartbeat_seconds: float = Field(
        10.0,
        gt=0,
        le=60,
        description="Seconds of silence after which a stream sends a comment, so that proxies keep it open. Default 10: "
        "a third of the shortest idle timeout in common proxies.",
    )
    resume_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="Seconds a streamed run goes on when nobody watches it, for a client that lost its connection. "
        "Default 30: a phone in a tunnel. Then it is cancelled, because each call costs.",
    )
    run_lease_seconds: float = Field(
        30.0,
        ge=1,
        le=600,
        description="Seconds after which a run whose process has died shows as interrupted. Default 30: a run is not taken "
        "from a process that a busy machine has stopped for a while.",
    )
    degrade_percent: int | None = Field(
        None,
        ge=1,
        le=100,
        description="From how many hundredths of a budget on, messages that name no processor are given the agent's cheapest. "
        "Default none: never.",
    )
    model_base_url: str | None = Field(
        None,
        description="Base URL of an OpenAI-compatible API, for a language model that leads the conversation. Default none: "
        "the extractive one does, which is no language model.",
    )
    model_id: str | None = Field(None, max_length=128, description="Which model to ask for there.")
    model_api_key: SecretStr | None = Field(None, description="Its key; none where it needs none.")
    model_input_usd_per_million: _Price | None = Field(
        None,
        description='What a million tokens of input cost in USD, a decimal string; "0" for a model of your own.',
    )
    model_output_usd_per_million: _Price | None = Field(
        None, description="The same of its output, reasoning included."
    )
    model_max_output_tokens: int = Field(
        2048,
        ge=16,
        le=200_000,
        description="Most tokens of one answer of the model. Default 2048: two pages.",
    )
    model_run_usd: UsdString = Field(
        "0.50",
        description="The most the language model may cost in one run, besides its tools. Default 0.50.",
    )

    @field_validator("parallel_base_url", "model_base_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = "must be an http or https URL with a host"
            raise ValueError(message)
        if parts.username or parts.password:
            message = "must not hold credentials; the key goes into a setting of its own"
            raise ValueError(message)
        if parts.scheme == "http" and not self_hosted(value):
            message = "must be https unless it is on this machine: the key would cross the network readable"
            raise ValueError(message)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _model_is_whole(self) -> ResearchSettings:
        needed = {
            "RESEARCH_MODEL_ID": self.model_id,
            "RESEARCH_MODEL_INPUT_USD_PER_MILLION": self.model_input_usd_per_million,
            "RESEARCH_MODEL_OUTPUT_USD_PER_MILLION": self.model_output_usd_per_million,
        }
        if self.model_base_url is None:
            given = [name for name, value in needed.items() if value is not None]
            if given:
                message = f"{', '.join(given)}: there is no RESEARCH_MODEL_BASE_URL they could belong to"
                raise ValueError(message)
        elif missing := [name for name, value in needed.items() if value is None]:
            # A model without a price would be a model without a budget.
            message = f"RESEARCH_MODEL_BASE_URL needs {', '.join(missing)} beside it"
            raise ValueError(message)
        if self.model_run_nano < self.model_least_nano:
            least = format_usd(self.model_least_nano)
            message = (
                f"RESEARCH_MODEL_RUN_USD must be at least {least}, what one answer of the model may cost"
            )
            raise ValueError(message)
        return self

    @property
    def local(self) -> bool:
        """Whether the sources are on this machine."""
        return self_hosted(self.parallel_base_url)

    @property
    def engine(self) -> str:
        """What makes the answers, as each answer says. Only `model:...` is a language model."""
        if self.model_id is not None:
            return f"model:{self.model_id}"
        return "local-extractive" if self.local else "parallel"

    @property
    def model_run_nano(self) -> int:
        """`model_run_usd` in nano-USD; 0 without a language model."""
        return 0 if self.model_base_url is None else parse_usd(self.model_run_usd)

    @property
    def model_least_nano(self) -> int:
        """What has to be set aside for the shortest question to the language model, in nano-USD; 0 without one."""
        price = self.model_output_usd_per_million
        return 0 if price is None else price_nano(self.model_max_output_tokens, price, 1_000_000)


def read_settings() -> ResearchSettings:
    """The settings of the environment.

    Raises:
        prodkit.SettingsError: one is missing or wrong; lists all of them, by the names an operator uses.
    """
    try:
        return ResearchSettings()
    except ValidationError as error:
        faults = [
            SettingsFault(
                f"RESEARCH_{'__'.join(str(part) for part in fault['loc']).upper()}"
                if fault["loc"]
                else "RESEARCH_*",
                f"{fault['msg'].removeprefix('Value error, ')}.",
                "See examples/research_agents/README.md.",
            )
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError(faults) from None


def self_hosted(url: str) -> bool:
    """Whether *url* names this machine."""
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
