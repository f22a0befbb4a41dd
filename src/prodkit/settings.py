"""Settings: everything an operator can set, one section a feature, read from the environment and checked at once.

Sources, the first one that has a value wins: arguments, `PRODKIT_*` environment variables, `.env`, the files of a
secrets directory. Sections are separated by two underscores: `PRODKIT_RATE_LIMITING__DEFAULT=100/minute`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from prodkit.api_keys import APIKeysSettings
from prodkit.authentication import NO_KEYS, AuthenticationSettings
from prodkit.budgets import BudgetsSettings
from prodkit.compression import CompressionSettings
from prodkit.core.environment import (
    PREFIX,
    SECRETS_DIR,
    Source,
    closest,
    read_sources,
    unknown_names,
    variables_of,
)
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.faults import faults_of
from prodkit.core.features import FeatureSettings
from prodkit.core.problems import TYPE_BASE
from prodkit.core.redaction import redact_text
from prodkit.correlation import CorrelationSettings
from prodkit.cors import CORSSettings
from prodkit.error_reporting import ErrorReportingSettings
from prodkit.fetch_metadata import FetchMetadataSettings
from prodkit.health import HealthSettings
from prodkit.hosts import HostsSettings
from prodkit.jwt import JWTSettings
from prodkit.load_shedding import LoadSheddingSettings
from prodkit.logs import LogsSettings
from prodkit.metering import MeteringSettings
from prodkit.metrics import MetricsSettings
from prodkit.operations import OperationsSettings
from prodkit.proxies import ProxiesSettings
from prodkit.rate_limiting import RateLimitingSettings
from prodkit.request_limits import RequestLimitsSettings
from prodkit.security_headers import SecurityHeadersSettings
from prodkit.stores.urls import check_url
from prodkit.timeouts import TimeoutsSettings
from prodkit.web_sessions import WebSessionsSettings
from prodkit.webhooks import WebhooksSettings

__all__ = ["ProblemsSettings", "Settings"]

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic.fields import FieldInfo


OPEN_COOKIES: Final = SettingsFault(
    f"{PREFIX}WEB_SESSIONS__SECURE",
    "cookies would be sent over plain HTTP, where everybody on the way can take them.",
    f"Remove it, or set {PREFIX}ENVIRONMENT=development on a machine of your own.",
)
"""Said where the cookies of sessions would not be `Secure` in production."""

OPEN_WEBHOOKS: Final = SettingsFault(
    f"{PREFIX}WEBHOOKS__ENDPOINTS",
    "webhooks would be sent over plain HTTP, where everybody on the way can read them.",
    f"Write https://, or set {PREFIX}ENVIRONMENT=development on a machine of your own.",
)
"""Said where an endpoint on another machine is plain HTTP in production."""

# The position in a list has fewer; more of them may be a secret made of digits.
_DIGITS: Final = 4


class ProblemsSettings(FeatureSettings):
    """Settings of problem documents; environment prefix `PRODKIT_PROBLEMS__`."""

    type_base: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9+.\-]*:[^\s#?]*/$",
            description="What problem type URIs begin with, ending in a slash. Default: the documentation of prodkit. Set it "
            "to where you document your own.",
        ),
    ] = TYPE_BASE


class Settings(BaseSettings):
    """All settings of a hardened application.

    Args:
        feature_names: names of further features whose `PRODKIT_<NAME>__*` variables are not ours to judge.
        values: sections or fields by name, in place of what the environment says.

    Raises:
        SettingsError: something is wrong; lists every fault with its variable and its cure, and shows no value.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",  # unknown names are refused below, with what was probably meant
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
        nested_model_default_partial_update=True,
    )

    environment: Annotated[
        Literal["production", "development"],
        Field(
            description="Where this runs. `production` (default) refuses what is unsafe there; `development` logs for people."
        ),
    ] = "production"
    store: Annotated[
        str,
        Field(
            description="Where shared state lives: `memory://` (default; each process for itself), "
            "`sqlite:///path/to/file.db` (all workers of a machine, survives restarts) or `redis://host:6379/0` (all machines; "
            "also rediss, redis+sentinel, redis+cluster and unix; how-to: stores)."
        ),
    ] = "memory://"
    operations: OperationsSettings = OperationsSettings()
    problems: ProblemsSettings = ProblemsSettings()
    proxies: ProxiesSettings = ProxiesSettings()
    correlation: CorrelationSettings = CorrelationSettings()
    logs: LogsSettings = LogsSettings()
    metrics: MetricsSettings = MetricsSettings()
    error_reporting: ErrorReportingSettings = ErrorReportingSettings()
    health: HealthSettings = HealthSettings()
    cors: CORSSettings = CORSSettings()
    fetch_metadata: FetchMetadataSettings = FetchMetadataSettings()
    security_headers: SecurityHeadersSettings = SecurityHeadersSettings()
    hosts: HostsSettings = HostsSettings()
    load_shedding: LoadSheddingSettings = LoadSheddingSettings()
    request_limits: RequestLimitsSettings = RequestLimitsSettings()
    timeouts: TimeoutsSettings = TimeoutsSettings()
    rate_limiting: RateLimitingSettings = RateLimitingSettings()
    authentication: AuthenticationSettings = AuthenticationSettings()
    api_keys: APIKeysSettings = APIKeysSettings()
    jwt: JWTSettings = JWTSettings()
    web_sessions: WebSessionsSettings = WebSessionsSettings()
    metering: MeteringSettings = MeteringSettings()
    budgets: BudgetsSettings = BudgetsSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    compression: CompressionSettings = CompressionSettings()

    # Any: pydantic validates them.
    def __init__(self, *, feature_names: Iterable[str] = (), **values: Any) -> None:
        env_file = values.get("_env_file", self.model_config.get("env_file"))
        sources, faults = read_sources(env_file, values.get("_secrets_dir"))
        faults += _unknown(type(self), sources, tuple(feature_names))
        faults += _unknown_arguments(type(self), values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            known = {fault.name for fault in faults}
            found = faults_of(error, _name_of, type(self))
            faults.extend(_in_words(fault, sources) for fault in found if fault.name not in known)
        else:
            faults += self._faults_between()
        if faults:
            raise SettingsError(faults) from None

    def _faults_between(self) -> list[SettingsFault]:
        """What no section can see alone."""
        faults = []
        sessions = self.web_sessions
        if sessions.is_on and not sessions.secure and self.environment == "production":
            faults.append(OPEN_COOKIES)
        if self.webhooks.is_open and self.environment == "production":
            faults.append(OPEN_WEBHOOKS)
        if self.authentication.mode == "keys" and not (
            self.authentication.static_keys or self.api_keys.is_on
        ):
            faults.append(NO_KEYS)
        # Whoever sets how keys shall be has meant them to be asked for.
        for name, section, switch in (
            ("API_KEYS", self.api_keys, "PEPPERS"),
            ("JWT", self.jwt, "ISSUER"),
            ("WEB_SESSIONS", sessions, "SECRETS"),
        ):
            if not section.is_on and section != type(section)():
                faults.append(
                    SettingsFault(
                        f"{PREFIX}{name}__{switch}",
                        "it is not set, so the other settings of its section mean nothing, and nobody is asked for these "
                        "credentials.",
                        "Set it, or remove the others.",
                    )
                )
        return faults

    @field_validator("store")
    @classmethod
    def _known_store(cls, url: str) -> str:
        try:
            check_url(url)
        except SettingsError as error:
            (fault,) = error.faults
            message = f"{fault.message} | {fault.cure}"
            raise ValueError(message) from None
        return url

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What `repr` and `str` show: the URL of a store may hold a password."""
        for name, value in super().__repr_args__():
            yield name, redact_text(value) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, `.env`, secret files, in this order."""
        del env_settings
        env_file = getattr(dotenv_settings, "env_file", None)
        secrets_dir = getattr(file_secret_settings, "secrets_dir", None)
        # What could not be read is a fault already.
        sources, _ = read_sources(env_file, secrets_dir)
        return init_settings, *(_Given(settings_cls, source) for source in sources)


class _Given(EnvSettingsSource):
    """The values of one source that has been read already."""

    def __init__(self, settings_cls: type[BaseSettings], source: Source) -> None:
        super().__init__(settings_cls)
        self.env_vars = {name.lower(): value for name, value in source.values.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # Any: as inherited
        """The value as JSON; what is none stays as it is for validation to refuse.

        Raising here would end the search for faults at the first one, and name no variable.
        """
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _name_of(path: Sequence[str]) -> str:
    """The variable at *path*, and where within its value.

    Names that the value itself contains are cut: with a mapping written the wrong way round, they are the secrets.
    """
    inside = "".join(
        f"[{part if part.isdigit() and len(part) < _DIGITS else f'{part[:3]}...'}]" for part in path[2:3]
    )
    deeper = "".join(f".{part}" for part in path[3:])
    return f"{PREFIX}{'__'.join(path[:2]).upper()}{inside}{deeper}"


# What Python calls what an operator writes as JSON.
_KINDS: Final = (
    (re.compile(r"a valid (tuple|set|frozenset|list)\b"), "a list"),
    (re.compile(r"a valid (dictionary|mapping)( or instance of \w+)?"), "an object"),
)


def _in_words(fault: SettingsFault, sources: Sequence[Source]) -> SettingsFault:
    """*fault* in the words of somebody who writes variables and not Python."""
    message, cure = fault.message, fault.cure
    for pattern, words in _KINDS:
        message, found = pattern.subn(words, message)
        given = next((source.values[fault.name] for source in sources if fault.name in source.values), None)
        if found and given is not None and not _is_json(given):
            # Most often the shell has eaten the double quotes.
            message = "not valid JSON."
            cure = f"{cure.removesuffix('.')}; in a shell put it in single quotes."
    return SettingsFault(fault.name, message, cure)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _unknown(
    settings: type[Settings], sources: list[Source], feature_names: tuple[str, ...]
) -> list[SettingsFault]:
    """Names with our prefix that mean nothing: a typo there is a protection that is silently off."""
    found = {name: source.label for source in reversed(sources) for name in source.values}
    variables = list(variables_of(settings))
    known = {variable.name for variable in variables} | {SECRETS_DIR}
    faults = []
    for name in unknown_names(found, variables, feature_names, {SECRETS_DIR}):
        guess = closest(name, known)
        cure = f"Did you mean {guess}?" if guess else "Remove it; `prodkit env` lists all that there are."
        place = "the environment" if found[name] == "environment" else found[name]
        faults.append(SettingsFault(name, f"there is no such setting (in {place}).", cure))
    return faults


def _unknown_arguments(settings: type[Settings], values: Iterable[str]) -> list[SettingsFault]:
    """Keyword arguments that mean nothing; those with an underscore in front are of pydantic-settings."""
    fields = settings.model_fields
    faults = []
    for name in values:
        if name not in fields and not name.startswith("_"):
            guess = closest(name, [field.upper() for field in fields])
            cure = f"Did you mean {guess.lower()}?" if guess else "Remove it."
            faults.append(SettingsFault(f"Settings({name}=...)", "there is no such section.", cure))
    return faults
