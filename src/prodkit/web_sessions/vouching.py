"""Whether anybody vouches for the credential that a session was opened with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from prodkit.core.problems import STORE_UNAVAILABLE, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.identity import Principal, Revalidates

__all__ = ["unavailable", "vouched"]

LOGGER = logging.getLogger("prodkit.web_sessions")

# As at a login: such an answer is about the credential, any other about whoever was asked.
_NO: Final = frozenset({401, 403})


async def vouched(revalidators: Iterable[Revalidates], principal: Principal) -> bool | None:
    """True when somebody says that the credential behind *principal* holds; False when anybody says no; None when nobody knows it.

    Raises:
        Problem: 503, one of them cannot tell, for whatever reason.
    """
    known = None
    for revalidator in revalidators:
        try:
            answer = await revalidator.is_still_valid(principal)
        except Problem as problem:
            if problem.status_code in _NO:
                return False
            raise unavailable() from problem
        except Exception as error:  # noqa: BLE001 - not all of them are ours: whatever it raises, it did not say "good"
            names = (type(revalidator).__name__, type(error).__name__)
            # The message of somebody else's error may hold anything.
            LOGGER.error("%s cannot tell whether a credential still holds: %s", *names)  # noqa: TRY400 - see above
            raise unavailable() from None
        if answer is None:
            continue
        if not answer:
            return False
        known = True
    return known


def unavailable() -> Problem:
    """The 503 of a caller whose session could not be looked up: it may well be good."""
    return Problem(
        STORE_UNAVAILABLE, "Sessions cannot be looked up at the moment.", headers={"Retry-After": "1"}
    )
