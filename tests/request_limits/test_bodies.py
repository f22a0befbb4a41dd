"""What cannot be the limit of a body is told when it is declared."""

from __future__ import annotations

import re
from typing import Any

import pytest

from prodkit.core.exceptions import SettingsError
from prodkit.request_limits import body_limit


@pytest.mark.parametrize("limit", ["10MB", 1e6, True, None])
def test_route_limit_that_is_no_number(limit: Any):
    """The message says what is expected."""
    with pytest.raises(SettingsError, match=re.escape(f"body_limit({limit!r})")) as refused:
        body_limit(limit)
    assert refused.value.faults[0].cure == "Give bytes as an int, such as 10_000_000."
