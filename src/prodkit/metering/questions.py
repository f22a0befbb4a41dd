"""What is asked of a provider, and the key under which its answer is kept: a digest of the question and of whose it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from prodkit.core.owners import owner_of

if TYPE_CHECKING:
    from prodkit.core.identity import Principal

__all__ = ["Question", "SharedBy", "answer_key"]

SharedBy: TypeAlias = Literal["principal", "tenant", "everyone"]
"""Who may be given an answer that one of them has bought."""

# The number changes when what a key stands for does: two releases never read each other's answers.
_NAMESPACE: Final = "prodkit.answers.1"
_DIGEST_BYTES: Final = 24
# Deeper than any request of a provider's, and far from where the interpreter gives up.
_DEEPEST: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to a provider: everything that its answer depends on, but for who asks.

    Attributes:
        provider: who is asked, e.g. `parallel`.
        sku: what is bought, e.g. `search.fast`; or the model.
        parameters: of the request, as JSON. Names are told apart by case, numbers as they are written (`1` is not `1.0`), so
            what is not the same in every respect is asked anew.
    """

    provider: str
    sku: str
    parameters: Mapping[str, Any] = field(repr=False)  # Any: JSON, checked by `answer_key`


def answer_key(
    question: Question, *, namespace: str, principal: Principal, shared_by: SharedBy = "principal"
) -> str | None:
    """The key of the answer: 48 hexadecimal digits, the same in every process.

    No two questions have the same one, however their texts are chosen: what is digested is JSON, in which every text ends
    where it ends, with its names sorted. Nothing of the question or the principal can be read from it.

    Args:
        question: what is asked.
        namespace: what the answers are for, and in which form; another one when either changes.
        principal: who asks.
        shared_by: who may be given the answer. `principal`: nobody but the same kind, tenant and id. `tenant`: everybody of the
            tenant; who has none is one alone, see `prodkit.core.owners.owner_of`. `everyone`: anybody who asks the same.

    Returns:
        None where the answer would be somebody's and *principal* is nobody: who was not identified shares with everyone, if
        that is said, and else with no one.

    Raises:
        ValueError: the parameters are no JSON, or nested deeper than 64 times.
    """
    whose: list[str | None]
    if shared_by == "everyone":
        whose = []
    elif principal.is_anonymous:
        return None
    elif shared_by == "tenant":
        whose = ["tenant", owner_of(principal)]
    else:
        whose = ["principal", principal.kind, principal.tenant, principal.id]
    parameters = _plain(question.parameters, _DEEPEST)
    parts = [_NAMESPACE, namespace, whose, question.provider, question.sku, parameters]
    # ASCII: also half a surrogate pair, which no UTF-8 can hold, stays what it is.
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return blake2b(text.encode("ascii"), digest_size=_DIGEST_BYTES, person=b"prodkit.answers").hexdigest()


def _plain(value: object, deepest: int) -> object:
    """*value* as JSON has it.

    Raises:
        ValueError: it is something else. Python would write the name 1 as "1", and be a different question's.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
    elif deepest > 0:
        if isinstance(value, Mapping):
            if all(type(name) is str for name in value):
                return {name: _plain(one, deepest - 1) for name, one in value.items()}
        elif isinstance(value, list | tuple):
            return [_plain(one, deepest - 1) for one in value]
    # Not shown: it is what a caller sent.
    message = (
        f"the parameters of a question must be JSON, and a {type(value).__name__} in them is not, or too deep"
    )
    raise ValueError(message)
