"""Examples for the OpenAPI document: an answer of each agent, a stream, and the problems that a request can meet."""

from __future__ import annotations

from typing import Any

__all__ = ["ANSWERS", "FAILURES", "NOT_FOUND", "STREAM_EXAMPLE"]

_SOURCE = {
    "n": 1,
    "url": "pydoc:nonlocal",
    "title": 'Python help: nonlocal - The "nonlocal" statement',
    "excerpt": 'The "nonlocal" statement causes the listed identifiers to refer to previously bound variables '
    "in the nearest enclosing scope excluding globals.",
}


def _answer(agent: str, processor: str, cost_usd: str, units: dict[str, int], **more: Any) -> dict[str, Any]:
    # Any: JSON of an example
    return {
        "session_id": "ses_8f14e45fceea467f9a4b7b3f0c1d2e3a",
        "run_id": "run_c9f0f895fb98ab9159f51fd0297e236d",
        "agent": agent,
        "processor": processor,
        "answer": f"{_SOURCE['excerpt']} [1]",
        "citations": [_SOURCE],
        "findings": [],
        "comparisons": [],
        "conflicts": [],
        "claims": [],
        "plan": [],
        "not_found": [],
        "usage": {
            "calls": sum(units.values()),
            "units": {"requests": sum(units.values()), **units},
            "saved_usd": "0",
            "price_book": "2026-10-18",
            "estimated": False,
            "simulated": True,
        },
        "cost_usd": cost_usd,
        "engine": "local-extractive",
        **more,
    }


_CLAIM = {
    "claim": "The nonlocal statement refers to variables of the nearest enclosing scope.",
    "verdict": "supported",
    "confidence": "high",
    "reasoning": "The source says the same.",
    "basis": [{**_SOURCE, "stance": "supports"}],
}
_FINDING = {
    "statement": "The package fastapi requires Python >=3.10.",
    "subject": "fastapi",
    "measure": "required Python",
    "value": "3.10",
    "unit": "",
    "period": "",
    "n": [1],
}

ANSWERS: dict[str, dict[str, Any]] = {
    "search": _answer("search", "fast", "0.001", {"search.fast": 1}),
    "analyst": _answer("analyst", "core", "0.025", {"task.core": 1}, findings=[_FINDING]),
    "critic": _answer("critic", "core", "0.025", {"task.core": 1}, claims=[_CLAIM]),
    "writer": _answer("writer", "speed", "0.006", {"search.fast": 1, "chat.speed": 1}),
    "deep_research": _answer(
        "deep_research",
        "pro",
        "0.181",
        {"task.pro": 1, "search.fast": 1, "task.core": 3, "chat.speed": 1},
        plan=["What does the nonlocal statement do?"],
        claims=[_CLAIM],
        not_found=["Who invented the nonlocal statement?"],
    ),
}

STREAM_EXAMPLE = (
    "event: run.started\n"
    'data: {"run_id":"run_c9f0f895fb98ab9159f51fd0297e236d","session_id":"ses_8f14e45fceea467f9a4b7b3f0c1d2e3a",'
    '"agent":"search","processor":"fast","engine":"local-extractive"}\n'
    "id: run_c9f0f895fb98ab9159f51fd0297e236d:1\n\n"
    'event: token\ndata: {"text":"The \\"nonlocal\\" statement causes ... [1]"}\n'
    "id: run_c9f0f895fb98ab9159f51fd0297e236d:6\n\n"
)


def _problem(status: int, title: str, detail: str, **more: str) -> dict[str, Any]:
    document = {"title": title, "status": status, "detail": detail, **more}
    return {"description": title, "content": {"application/problem+json": {"example": document}}}


_RUN = "run_c9f0f895fb98ab9159f51fd0297e236d"
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: _problem(404, "Not Found", "There is no such run.")}
FAILURES: dict[int | str, dict[str, Any]] = {
    402: _problem(402, "Payment Required", "A budget is used up.", budget="principal-day:demo@demo"),
    404: _problem(404, "Not Found", "There is no such session."),
    409: _problem(409, "Conflict", "The session belongs to the agent writer."),
    422: _problem(
        422,
        "Unprocessable Content",
        "max_cost_usd is below what a run with the processor core costs at least.",
        least_cost_usd="0.025",
    ),
    502: _problem(502, "Bad Gateway", "The search service failed.", run_id=_RUN, cost_usd="0.001"),
    503: _problem(503, "Service Unavailable", "The search service is busy.", run_id=_RUN, cost_usd="0"),
    504: _problem(504, "Gateway Timeout", "The search service did not answer in time.", cost_usd="0.001"),
}
