"""What a model's answer says that it used: the shapes of `usage` that servers of OpenAI's protocol send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prodkit.metering.token_prices import TokenUse

if TYPE_CHECKING:
    from prodkit.metering.clients.quotes import Document

__all__ = ["MOST_TOKENS", "bytes_of_text", "count_of", "is_over", "said_in", "use_of"]

MOST_TOKENS: Final = 100_000_000
"""More than any context: a larger number is a mistake."""

# Fields of a message that hold no text a model wrote.
_NOT_WRITTEN: Final = frozenset(
    {"role", "type", "id", "index", "object", "status", "annotations", "logprobs"}
)
_DELTAS: Final = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
    }
)
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


def use_of(usage: object) -> tuple[TokenUse, bool] | None:
    """What a `usage` object says, and whether it is sure; None where it has no sane counts.

    Servers differ in whether cached and reasoning tokens are parts of input and output, as OpenAI has it, or beside them. They
    are taken for parts; where they cannot be (a part larger than its whole, a total that only adds up with them), they are
    added. That never says less than was used.
    """
    if not isinstance(usage, dict):
        return None
    given = count_of(usage.get("prompt_tokens", usage.get("input_tokens")))
    total = count_of(usage.get("total_tokens"))
    output = count_of(usage.get("completion_tokens", usage.get("output_tokens")))
    if output is None and usage.keys().isdisjoint({"completion_tokens", "output_tokens"}):
        output = 0 if given is not None and total == given else None  # embeddings
    if given is None or output is None:
        return None
    details = _details(usage, "prompt_tokens_details", "input_tokens_details")
    cached = _first(details, "cached_tokens") or _first(
        usage, "prompt_cache_hit_tokens", "cache_read_input_tokens"
    )
    written = _first(details, "cache_write_tokens", "cache_creation_tokens") or _first(
        usage, "cache_creation_input_tokens"
    )
    reasoning = _first(
        _details(usage, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens"
    )
    sure, beside = True, given + cached + written
    if beside > given and (
        total == beside + output or (total is None and "cache_read_input_tokens" in usage)
    ):
        given = beside
    elif cached + written > given:
        given, sure = beside, False
    if reasoning and total is not None and total == given + output + reasoning:
        output += reasoning
    elif reasoning > output:
        output, sure = output + reasoning, False
    use = TokenUse(
        input_tokens=given,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output,
        reasoning_tokens=reasoning,
    )
    return use, sure


def said_in(document: Document) -> Document:
    """The part of a document that has `model` and `usage`: of an event of `/responses`, the response."""
    inner = document.get("response")
    return inner if isinstance(inner, dict) else document


def is_over(document: Document) -> bool:
    """Whether nothing is generated after it: a finish reason, the chunk that only brings the usage, the end of a response."""
    if _word(document.get("type")) in _ENDS:
        return True
    choices = document.get("choices")
    if not isinstance(choices, list):
        return False
    if not choices:
        return isinstance(document.get("usage"), dict)
    return any(isinstance(choice, dict) and bool(choice.get("finish_reason")) for choice in choices)


def bytes_of_text(document: Document) -> int:
    """How many bytes of text that a model wrote stand in *document*. No token is less than one byte."""
    if _word(document.get("type")) in _DELTAS:
        return _bytes(document.get("delta"))
    choices = document.get("choices")
    if isinstance(choices, list):
        parts = (choice for choice in choices if isinstance(choice, dict))
        return sum(_bytes(choice.get("delta")) + _bytes(choice.get("message")) for choice in parts)
    return _bytes(document.get("output"))


def count_of(value: object) -> int | None:
    """*value* as a sane number of tokens, or None."""
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if sane and isinstance(value, int) else None


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bytes(value: object) -> int:
    size, waiting = 0, [value]  # no recursion: it is somebody else's nesting
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            size += len(one.encode("utf-8", "surrogatepass"))
        elif isinstance(one, dict):
            waiting += [inner for name, inner in one.items() if name not in _NOT_WRITTEN]
        elif isinstance(one, list):
            waiting += one
    return size


def _details(usage: Document, *names: str) -> Document:
    for name in names:
        details = usage.get(name)
        if isinstance(details, dict):
            return details
    return {}


def _first(document: Document, *names: str) -> int:
    return next((count for name in names if (count := count_of(document.get(name))) is not None), 0)
