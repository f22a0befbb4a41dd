"""A model provider that keeps its own books: what it accepted it bills, whatever becomes of the answer.

Its prices and its arithmetic are its own, so that a mistake of ours is not made twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.paid_provider import Reply, Seen, events

__all__ = ["MODELS", "OTHER", "Bill", "BillingProvider", "Fate", "book_text"]

Fate = Literal[
    "well",
    "busy",
    "refused",
    "unavailable",
    "accepted_then_502",
    "accepted_then_silent",
    "cut",
    "cut_after_usage",
    "no_usage",
    "usage_twice",
    "zero_usage",
    "usage_with_choices",
    "running_totals",
    "other_model",
    "unknown_model",
    "cached",
    "written",
    "reasoned",
    "slow",
]

# Nano-USD for one token: input, cached input, cache write, output.
MODELS = {"m-1": (2000, 500, 2500, 8000), "m-2": (4000, 1000, 5000, 16000)}
OTHER = "m-2"
REFUSALS: dict[Fate, int] = {"busy": 429, "refused": 400, "unavailable": 503}
TEXT = "The nearest enclosing scope is meant, and the global one never is."
WORDS = TEXT.split(" ")


@dataclass(frozen=True)
class Bill:
    """A line of the provider's own books.

    Attributes:
        fate: what became of the answer.
        nano: nano-USD.
    """

    fate: Fate
    model: str
    input: int
    cached: int
    written: int
    output: int
    reasoning: int
    nano: int


@dataclass
class BillingProvider:
    """Answers each request by the next of *fates*, `well` when there are none left.

    Attributes:
        fates: in order.
        bills: what it would send an invoice for; what it refused is not in it.
        drip: seconds between the pieces of a slow answer, of 50 bytes each.
    """

    fates: list[Fate] = field(default_factory=list)
    bills: list[Bill] = field(default_factory=list)
    drip: float = 0.002

    def __call__(self, seen: Seen) -> Reply:
        fate: Fate = self.fates.pop(0) if self.fates else "well"
        if fate in REFUSALS:
            return Reply(REFUSALS[fate], {"error": {"message": "no"}}, {"retry-after": "0"})
        bill = self._bill(fate, seen)
        self.bills.append(bill)
        if fate == "accepted_then_502":
            return Reply(502, {"error": {"message": "bad gateway"}})
        if fate == "accepted_then_silent":
            return Reply(None)
        kind = seen.path.rpartition("/")[2]
        if kind == "embeddings":
            usage = {"prompt_tokens": bill.input, "total_tokens": bill.input}
            return Reply(body={"object": "list", "model": bill.model, "data": [], "usage": usage})
        answer = _Responses(bill) if kind == "responses" else _Chat(bill)
        return answer.stream(self.drip) if seen.body.get("stream") else answer.whole()

    def _bill(self, fate: Fate, seen: Seen) -> Bill:
        model = seen.body["model"]
        model = {"other_model": OTHER, "unknown_model": "m-1-secret"}.get(fate, model)
        given = max(1, len(json.dumps(seen.body.get("messages", seen.body.get("input")))) // 4)
        cached = given // 2 if fate == "cached" else 0
        written = given // 4 if fate == "written" else 0
        reasoning = 7 if fate == "reasoned" else 0
        output = 0 if seen.path.endswith("/embeddings") else len(WORDS) + reasoning
        if fate == "zero_usage":
            given = output = 0
        prices = MODELS.get(model, MODELS["m-1"])
        counts = (given - cached - written, cached, written, output)
        nano = sum(price * count for price, count in zip(prices, counts, strict=True))
        return Bill(fate, model, given, cached, written, output, reasoning, nano)


class _Chat:
    def __init__(self, bill: Bill) -> None:
        self.bill = bill
        self.usage = {
            "prompt_tokens": bill.input,
            "completion_tokens": bill.output,
            "total_tokens": bill.input + bill.output,
            "prompt_tokens_details": {"cached_tokens": bill.cached, "cache_write_tokens": bill.written},
            "completion_tokens_details": {"reasoning_tokens": bill.reasoning},
        }

    def whole(self) -> Reply:
        message = {"role": "assistant", "content": TEXT}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body: dict[str, Any] = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": self.bill.model,
            "choices": [choice],
        }
        if self.bill.fate != "no_usage":
            body["usage"] = self.usage
        return Reply(body=body, cut=40 if self.bill.fate == "cut" else None)

    def stream(self, drip: float) -> Reply:
        fate = self.bill.fate
        said: list[dict[str, Any]] = []
        for place, word in enumerate(WORDS):
            delta = {"content": f"{word} "}
            usage = None
            if fate == "running_totals":
                usage = {"prompt_tokens": self.bill.input, "completion_tokens": place + 1}
            said.append(self._chunk([{"index": 0, "delta": delta, "finish_reason": None}], usage))
        ends = {"index": 0, "delta": {}, "finish_reason": "stop"}
        if fate == "usage_with_choices":
            said.append(self._chunk([ends], self.usage))
        else:
            said.append(self._chunk([ends], None))
            if fate == "usage_twice":
                said.append(self._chunk([], {**self.usage, "completion_tokens": 1}))
            if fate != "no_usage":
                said.append(self._chunk([], self.usage))
        if fate == "cut":
            return events(*said[: len(said) // 2], cut=len(_bytes(said[: len(said) // 2])) - 9)
        if fate == "cut_after_usage":
            return events(*said, cut=len(_bytes(said)))
        return events(*said, done=True, drip=drip if fate == "slow" else 0.0, piece=50)

    def _chunk(self, choices: list[Any], usage: Any) -> dict[str, Any]:
        return {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.bill.model,
            "choices": choices,
            "usage": usage,
        }


class _Responses:
    def __init__(self, bill: Bill) -> None:
        self.bill = bill
        usage = {
            "input_tokens": bill.input,
            "input_tokens_details": {"cached_tokens": bill.cached, "cache_write_tokens": bill.written},
            "output_tokens": bill.output,
            "output_tokens_details": {"reasoning_tokens": bill.reasoning},
            "total_tokens": bill.input + bill.output,
        }
        part = {"type": "output_text", "text": TEXT, "annotations": []}
        message = {
            "type": "message",
            "id": "m",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
        self.body: dict[str, Any] = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": bill.model,
            "status": "completed",
            "output": [message],
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
            "usage": None if bill.fate == "no_usage" else usage,
        }

    def whole(self) -> Reply:
        return Reply(body=self.body, cut=40 if self.bill.fate == "cut" else None)

    def stream(self, drip: float) -> Reply:
        begun = {**self.body, "status": "in_progress", "output": [], "usage": None}
        said: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
        said += [{"type": "response.output_text.delta", "delta": f"{word} "} for word in WORDS]
        if self.bill.fate == "cut":
            return events(*said[: len(said) // 2], cut=len(_bytes(said[: len(said) // 2])) - 9)
        said.append({"type": "response.completed", "response": self.body})
        for number, event in enumerate(said):
            event["sequence_number"] = number
        return events(*said, drip=drip if self.bill.fate == "slow" else 0.0, piece=50)


def _bytes(documents: list[dict[str, Any]]) -> bytes:
    return events(*documents).content


def book_text(*models: str) -> str:
    """The prices of *models* as an operator writes them down, by the SKUs of `BookTokenPrices`."""
    lines = ['version = "house-1"', "captured = 2026-11-22", 'source = "the tests"', 'provider = "openai"']
    for model in models:
        for kind, nano in zip(("input", "cached_input", "cache_write", "output"), MODELS[model], strict=True):
            price = f"{nano // 1000}.{nano % 1000:03}"  # nano-USD for one token, as USD for a million
            lines += ["[[price]]", f'sku = "{model}.{kind}"', 'unit = "token"', f'price_usd = "{price}"']
            lines.append("per = 1_000_000")
    return "\n".join(lines)
