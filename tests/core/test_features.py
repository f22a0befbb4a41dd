"""The kit: what is provided, what is told, and what is refused."""

from __future__ import annotations

from typing import Self

import pytest
from pydantic import model_validator

from prodkit.core.assembly import assemble
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.core.features import FeatureSettings, Kit
from tests.support.recording import Contributes


class Thing:
    pass


def test_provided_parts_are_found_by_type_before_parts_are_asked():
    """A feature installed first finds what one installed later provides."""
    found: list[object] = []

    class Asks(Contributes):
        def parts(self, kit):
            found.append(kit.one(Thing))
            return super().parts(kit)

    thing = Thing()
    kit = assemble([Asks("asks"), Contributes("provides", provides=[thing])])
    assert found == [thing]
    assert kit.one(str) is None


def test_one_of_two_is_refused():
    """Choosing between two would be a guess."""
    kit = assemble([Contributes("a", provides=[Thing()]), Contributes("b", provides=[Thing()])])
    assert len(kit.all(Thing)) == 2
    with pytest.raises(InstallationError, match="several features provide a Thing"):
        kit.one(Thing)


def test_two_features_of_one_name():
    """Names are unique."""
    with pytest.raises(InstallationError, match="two features named 'a'"):
        assemble([Contributes("a"), Contributes("a")])


def test_a_fault_of_several_options_together_names_the_feature():
    """What one option alone is not to blame for is said of the feature, and what it is, of the option."""

    class Pair(FeatureSettings):
        low: int = 0
        high: int = 1

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.low > self.high:
                message = "low is above high | Swap them."
                raise ValueError(message)
            return self

    with pytest.raises(SettingsError) as together:
        Pair.of("Range", low=2)
    assert str(together.value.faults[0]) == "Range(...): low is above high. Swap them."
    with pytest.raises(SettingsError) as alone:
        Pair.of("Range", low="x")
    assert alone.value.faults[0].name == "Range(low=...)"


def test_emit_never_raises(caplog):
    """An observer's fault is counted and logged, and the next observer is told."""
    kit = Kit(SYSTEM_CLOCK, "x:/")
    told: list[object] = []

    def broken(event: object) -> None:
        raise ValueError("x")

    kit.observe([(Thing, broken), (Thing, told.append)])
    kit.emit(Thing())
    assert len(told) == 1
    assert kit.failures == {"observer": 1}
    assert "observer failed" in caplog.text


class Sample(FeatureSettings):
    count: int = 1
    word: str = "x"


def test_settings_errors_list_everything_and_show_nothing():
    """Every fault at once, each with the argument's name, none with the value."""
    with pytest.raises(SettingsError) as raised:
        Sample.of("Sample", count="hunter2", wrod="hunter2")
    text = str(raised.value)
    assert "Sample(count=...)" in text
    assert "Sample(wrod=...)" in text
    assert "hunter2" not in text
    assert raised.value.__cause__ is None
    assert len(raised.value.faults) == 2
