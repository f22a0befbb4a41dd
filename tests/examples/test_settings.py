"""Settings of the reference application."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from examples.research_agents.app import create_app
from examples.research_agents.settings import ResearchSettings, read_settings
from prodkit import Settings, kit_of
from prodkit.core.exceptions import SettingsError


def test_there_is_no_default_key() -> None:
    """Nothing secret has a default value."""
    with pytest.raises(ValidationError, match="parallel_api_key"):
        ResearchSettings()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """`RESEARCH_*` sets everything, and the default is Parallel itself."""
    monkeypatch.setenv("RESEARCH_PARALLEL_API_KEY", "a-secret-of-somebody")
    settings = ResearchSettings()
    assert settings.parallel_base_url == "https://api.parallel.ai"
    assert settings.engine == "parallel"
    assert not settings.local
    assert "a-secret-of-somebody" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://api.parallel.ai", "https"),
        ("ftp://127.0.0.1", "http or https"),
        ("https://user:pw@api.parallel.ai", "credentials"),
        ("nonsense", "http or https"),
    ],
)
def test_unsafe_addresses_are_refused(url: str, message: str) -> None:
    """A key is never sent where everybody can read it."""
    with pytest.raises(ValidationError, match=message):
        ResearchSettings(parallel_api_key="k", parallel_base_url=url)


def test_this_machine_is_called_local() -> None:
    """And the answers say that nothing but this machine answered."""
    assert (
        ResearchSettings(parallel_api_key="k", parallel_base_url="http://127.0.0.1:9/").engine
        == "local-extractive"
    )


def test_every_setting_is_described() -> None:
    """Meaning, unit and default, for the person who sets it."""
    assert all(field.description for field in ResearchSettings.model_fields.values())


def test_what_is_missing_or_wrong_is_named_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it at once, by the names of the environment, and without a value."""
    monkeypatch.delenv("RESEARCH_PARALLEL_API_KEY", raising=False)
    monkeypatch.setenv("RESEARCH_RESUME_SECONDS", "soon-enough")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert "RESEARCH_PARALLEL_API_KEY: Field required." in str(caught.value)
    assert "RESEARCH_RESUME_SECONDS: " in str(caught.value)
    assert "soon-enough" not in str(caught.value)


def test_what_does_not_go_together_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without a price would be one without a budget."""
    monkeypatch.setenv("RESEARCH_PARALLEL_API_KEY", "a-secret-of-somebody")
    monkeypatch.setenv("RESEARCH_MODEL_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(SettingsError, match="RESEARCH_MODEL_BASE_URL needs RESEARCH_MODEL_ID"):
        read_settings()


def test_what_the_operator_sets_is_set_beside_what_fits_the_application():
    """One value of a section does not undo the others, and his own holds."""
    app = create_app(
        ResearchSettings(parallel_api_key="k" * 40),
        prodkit_settings=Settings(
            _env_file=None,
            environment="development",
            fetch_metadata={"exempt_paths": ["/callback"]},
            load_shedding={"max_in_flight": 7},
        ),
    )
    features: Any = kit_of(app).features
    assert features["fetch_metadata"].settings.mode == "enforce"
    assert features["fetch_metadata"].settings.exempt_paths == ("/callback",)
    assert features["load_shedding"].settings.max_in_flight == 7
    assert features["security_headers"].settings.web_paths == ("/", "/page/*")
    assert features["compression"].settings.encodings == ("gzip",)
