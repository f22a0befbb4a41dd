"""Task runs, driven by Parallel's own SDK against the real process, and by plain HTTP where it has no words for it."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from parallel import (
    AsyncParallel,
    Parallel,
    PermissionDeniedError,
    UnprocessableEntityError,
)
from pydantic import BaseModel, Field

from examples.research_agents.agents.tasks import ANALYSIS

VELKOR = {
    "url": "document:velkor#1",
    "title": "Velkor Dynamics",
    "text": "Velkor Dynamics builds cargo gliders in the town of Aldmere. Velkor Dynamics employs 340 people. "
    "Velkor Dynamics had revenue of $12 million in 2023 and $15 million in 2024.",
}
MORVIK = {
    "url": "document:morvik#1",
    "title": "Morvik Systems",
    "text": "Morvik Systems employs 1,250 people. Morvik Systems was founded in 1987 by Ada Lund.",
}


class Witness(BaseModel):
    url: str
    title: str
    excerpt: str
    stance: str


class Verdict(BaseModel):
    verdict: Literal["supported", "contradicted", "not_found"]
    confidence: Literal["high", "medium", "low"]
    reasoning: str
    evidence: list[Witness]


class Profile(BaseModel):
    founded: int | None = Field(description="the year in which it was founded")
    favourite_colour: str | None = None


def given(question: str) -> dict[str, object]:
    return {"question": question, "documents": [VELKOR, MORVIK]}


def test_execute_parses_into_a_class_of_the_caller(client: Parallel) -> None:
    """A schema with a verdict checks the claim; the documents that came with it are its evidence."""
    done = client.task_run.execute(
        input=given("Velkor Dynamics employs 340 people."), processor="base", output=Verdict, timeout=30
    )
    verdict = done.output.parsed
    assert isinstance(verdict, Verdict)
    assert verdict.verdict == "supported"
    assert verdict.evidence[0].url == "document:velkor#1"
    assert "340" in verdict.evidence[0].excerpt
    basis = next(one for one in done.output.basis if one.field == "verdict")
    assert basis.citations
    assert basis.citations[0].title == "Velkor Dynamics"
    assert basis.confidence in {"high", "medium", "low"}
    assert done.run.status == "completed"


def test_a_claim_against_the_documents_is_contradicted(client: Parallel) -> None:
    """And one about something they never mention is not found; neither is ever "supported"."""
    wrong = client.task_run.execute(
        input=given("Velkor Dynamics employs 900 people."), processor="core", output=Verdict, timeout=30
    )
    assert wrong.output.parsed is not None
    assert wrong.output.parsed.verdict == "contradicted"
    missing = client.task_run.execute(
        input=given("Velkor Dynamics makes violins."), processor="core", output=Verdict, timeout=30
    )
    assert missing.output.parsed is not None
    assert missing.output.parsed.verdict == "not_found"


async def test_the_async_sdk_analyses_a_question(async_client: AsyncParallel) -> None:
    """A schema with findings gives values with units and the comparison of them."""
    done = await async_client.task_run.execute(
        input=given("Which has more employees, Velkor Dynamics or Morvik Systems?"),
        processor="pro",
        output={
            "type": "json",
            "json_schema": {
                "type": "object",
                "properties": {
                    "findings": {"type": "array", "items": {"type": "object"}},
                    "comparisons": {"type": "array", "items": {"type": "object"}},
                },
                "additionalProperties": False,
            },
        },
        timeout=30,
    )
    content: Any = done.output.content
    assert isinstance(content, dict)
    assert set(content) == {"findings", "comparisons"}
    assert {one["value"] for one in content["findings"]} >= {"340", "1250"}
    assert content["comparisons"][0]["highest"] == "Morvik Systems"
    assert {one.field for one in done.output.basis} >= {"findings.0", "findings.1"}


def test_an_analysis_takes_the_form_that_agents_ask_for(client: Parallel) -> None:
    """Their schema has no null, and wants the URLs of a comparison: a fact without a year must not fail the run."""
    done = client.task_run.execute(
        input=given("Which has more employees, Velkor Dynamics or Morvik Systems?"),
        processor="core",
        output={"type": "json", "json_schema": ANALYSIS},
        timeout=30,
    )
    content: Any = done.output.content
    assert isinstance(content, dict)
    assert {one["period"] for one in content["findings"]} == {""}
    assert set(content["comparisons"][0]["urls"]) == {"document:velkor#1", "document:morvik#1"}


def test_a_question_without_a_schema_is_analysed(client: Parallel) -> None:
    """As "auto" does; the schema that was chosen comes back."""
    for spec in ({}, {"task_spec": {"output_schema": {"type": "auto"}}}):
        run = client.task_run.create(
            input=given("How many people does Velkor Dynamics employ?"), processor="lite", **spec
        )
        output = client.task_run.result(run.run_id).output
        assert output.type == "json"
        assert output.output_schema is not None
        properties: Any = output.output_schema["properties"]
        assert set(output.content) == set(properties)
        assert "340" in str(output.content["findings"])


def test_text_is_written_with_citations(client: Parallel) -> None:
    """One basis entry `output`; its citations stand in the order of the numbers in the text."""
    done = client.task_run.execute(
        input=given("How many people does Velkor Dynamics employ?"),
        processor="base",
        output="a short answer",
        timeout=30,
    )
    assert isinstance(done.output.content, str)
    assert "340 people" in done.output.content
    assert "[1]" in done.output.content
    assert [one.field for one in done.output.basis] == ["output"]
    assert done.output.basis[0].citations[0].url == "document:velkor#1"


def test_an_input_that_only_names_a_thing_is_asked_the_description(client: Parallel) -> None:
    """`input="X"`, `output="the Y"`, as in the first example of Parallel's SDK."""
    done = client.task_run.execute(
        input={"question": "Morvik Systems", "documents": [MORVIK]},
        processor="base",
        output="the founding year",
        timeout=30,
    )
    assert "1987" in str(done.output.content)


def test_a_research_question_is_planned(client: Parallel) -> None:
    """A schema with sub_questions splits the question and looks nothing up."""
    done = client.task_run.execute(
        input="What does the nonlocal statement do, and what does the global statement do?",
        processor="lite",
        output={
            "type": "json",
            "json_schema": {
                "type": "object",
                "properties": {"sub_questions": {"type": "array", "items": {"type": "string"}}},
                "required": ["sub_questions"],
            },
        },
        timeout=30,
    )
    assert isinstance(done.output.content, dict)
    parts = done.output.content["sub_questions"]
    assert isinstance(parts, list)
    assert len(parts) == 2
    assert "nonlocal" in parts[0]


def test_any_other_schema_is_filled_and_what_is_not_found_is_null(client: Parallel) -> None:
    """A field is never made up."""
    done = client.task_run.execute(
        input={"question": "Morvik Systems", "documents": [MORVIK]},
        processor="base",
        output=Profile,
        timeout=30,
    )
    assert isinstance(done.output.parsed, Profile)
    assert done.output.parsed == Profile(founded=1987, favourite_colour=None)


def test_a_required_field_that_nothing_tells_fails_the_run(client: Parallel) -> None:
    """The result is 422 with the run's error, and the run says failed: better than a value out of the air."""

    class Impossible(BaseModel):
        favourite_colour: str

    run = client.task_run.create(
        input={"question": "Morvik Systems", "documents": [MORVIK]},
        processor="base",
        task_spec={"output_schema": {"type": "json", "json_schema": Impossible.model_json_schema()}},
    )
    with pytest.raises(UnprocessableEntityError, match="favourite_colour"):
        client.task_run.result(run.run_id)
    seen = client.task_run.retrieve(run.run_id)
    assert seen.status == "failed"
    assert not seen.is_active
    assert seen.error is not None
    assert "favourite_colour" in seen.error.message


def test_a_run_can_be_looked_at(client: Parallel, provider: Any) -> None:
    """Status, metadata, ids and the input as it was sent."""
    run = client.task_run.create(
        input="What does the nonlocal statement do?",
        processor="ultra8x-fast",
        metadata={"ledger_id": "call_1", "retry": False, "n": 3},
        previous_interaction_id="interaction_of_before",
    )
    assert run.run_id.startswith("trun_")
    assert run.interaction_id.startswith("interaction_")
    assert run.status in {"queued", "running"}
    assert run.is_active
    client.task_run.result(run.run_id, api_timeout=30)
    seen = client.task_run.retrieve(run.run_id)
    assert (seen.status, seen.is_active, seen.processor) == ("completed", False, "ultra8x-fast")
    assert seen.metadata == {"ledger_id": "call_1", "retry": False, "n": 3}
    assert seen.warnings is not None
    assert "previous_interaction_id" in seen.warnings[0].message
    assert client.task_run.retrieve_input(run.run_id).input == "What does the nonlocal statement do?"


def test_events_tell_the_whole_story_and_end_with_the_output(client: Parallel) -> None:
    """States, progress and statistics as the SDK's types; a stream opened late begins at the beginning."""
    run = client.task_run.create(
        input="What does the nonlocal statement do, and what does the global statement do?", processor="ultra"
    )
    client.task_run.result(run.run_id)
    seen = list(client.task_run.events(run.run_id))
    kinds = [one.type for one in seen]
    assert kinds[0] == "task_run.state"
    assert {
        "task_run.progress_msg.plan",
        "task_run.progress_msg.search",
        "task_run.progress_msg.result",
    } <= set(kinds)
    states = [one.run.status for one in seen if one.type == "task_run.state"]
    assert states == ["queued", "running", "completed"]
    assert seen[-1].type == "task_run.state"
    assert seen[-1].output is not None
    stats = [one for one in seen if one.type == "task_run.progress_stats"]
    assert stats[-1].source_stats.num_sources_read
    meters = [one.progress_meter for one in stats]
    assert meters == sorted(meters)
    assert all(0 <= one <= 100 for one in meters)


async def test_events_arrive_while_the_run_goes_on(async_client: AsyncParallel) -> None:
    """The async SDK reads them to the end."""
    run = await async_client.task_run.create(
        input="What is a generator function?", processor="core", enable_events=True
    )
    stream = await async_client.task_run.events(run.run_id)
    seen = [one async for one in stream]
    assert seen[-1].type == "task_run.state"
    assert seen[-1].run.status == "completed"


def test_events_resume_behind_the_last_one_seen(provider: Any) -> None:
    """And the last state is sent in any case, to a client that has seen it too."""
    made = provider.post(
        "/v1/tasks/runs",
        {"input": "What is a generator function?", "processor": "lite", "enable_events": True},
    ).json()
    provider.http.get(f"/v1/tasks/runs/{made['run_id']}/result")
    whole = provider.events(made["run_id"])
    assert provider.events(made["run_id"], {"Last-Event-ID": "2"}) == whole[2:]
    for beyond in (str(len(whole)), "99999", "x", "-1", "9" * 5000):
        rest = provider.events(made["run_id"], {"Last-Event-ID": beyond})
        assert rest[-1] == whole[-1]


def test_a_lite_run_reports_its_states_only(provider: Any) -> None:
    """Progress is recorded from `pro` on, or when asked for."""
    made = provider.post("/v1/tasks/runs", {"input": "What is a generator?", "processor": "lite"}).json()
    provider.http.get(f"/v1/tasks/runs/{made['run_id']}/result")
    assert {one["type"] for one in provider.events(made["run_id"])} == {"task_run.state"}


@pytest.mark.parametrize("tail", ["", "/input", "/result", "/events"])
def test_an_unknown_run_is_404(provider: Any, tail: str) -> None:
    """In Parallel's form."""
    answer = provider.http.get(f"/v1/tasks/runs/trun_nobody{tail}")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"ref_id", "message", "detail"}


def test_an_unknown_processor_is_403(client: Parallel, provider: Any) -> None:
    """And nothing was accepted."""
    before = len(provider.calls())
    with pytest.raises(PermissionDeniedError) as caught:
        client.task_run.create(input="x", processor="ultra16x")
    assert "ultra8x-fast" in str(caught.value.body)
    assert len(provider.calls()) == before


@pytest.mark.parametrize(
    "body",
    [
        {"processor": "base"},
        {"input": "", "processor": "base"},
        {"input": ["x"], "processor": "base"},
        {"input": "x", "processor": "base", "colour": "vermilion"},
        {"input": "x", "processor": "base", "metadata": {"a" * 17: "x"}},
        {"input": "x", "processor": "base", "metadata": {"a": "x" * 513}},
        {"input": "x", "processor": "base", "metadata": {"a": ["x"]}},
        {"input": "x" * 25_001, "processor": "base"},
        {"input": "x" * 24_000, "processor": "base", "task_spec": {"output_schema": "y" * 1001}},
        {"input": "x", "processor": "base", "task_spec": {"output_schema": {"type": "xml"}}},
        {"input": "x", "processor": "base", "task_spec": {"output_schema": {"type": "json"}}},
    ],
)
def test_a_bad_task_is_422(provider: Any, body: dict[str, object]) -> None:
    """Limits of length included; the answer never repeats the value."""
    answer = provider.post("/v1/tasks/runs", body)
    assert answer.status_code == 422
    assert answer.json()["error"]["detail"]["errors"]
    assert "vermilion" not in answer.text


@pytest.mark.parametrize("timeout", ["-1", "601", "nan", "inf", "soon", ""])
def test_a_wait_without_sense_is_422(provider: Any, timeout: str) -> None:
    """Before anything waits."""
    made = provider.post("/v1/tasks/runs", {"input": "x", "processor": "lite"}).json()
    answer = provider.http.get(f"/v1/tasks/runs/{made['run_id']}/result", params={"timeout": timeout})
    assert answer.status_code == 422


def test_a_source_policy_bounds_what_is_searched(provider: Any) -> None:
    """The domain of a URL here is what stands before its colon."""
    task = {"input": "What does the nonlocal statement do?"}
    assert provider.run(task)["output"]["content"]["findings"]
    for policy in ({"include_domains": ["package"]}, {"exclude_domains": ["pydoc", "docs", "package"]}):
        content = provider.run({**task, "source_policy": policy})["output"]["content"]
        assert "pydoc:nonlocal" not in str(content)


def test_a_hundred_runs_at_once_all_end(provider: Any) -> None:
    """And the server answers others meanwhile."""
    ids = [
        provider.post(
            "/v1/tasks/runs", {"input": given(f"Velkor Dynamics employs {n} people."), "processor": "lite"}
        ).json()["run_id"]
        for n in range(100)
    ]
    assert provider.http.get("/health").status_code == 200
    for run_id in ids:
        assert provider.http.get(f"/v1/tasks/runs/{run_id}/result").status_code == 200
