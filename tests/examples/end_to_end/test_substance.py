"""The agents really read: documents with facts made up at test time are answered from, compared, refuted and cited.

Everything is real: the hardened application on a socket, Agno, the SDK, and the local server in a process of its own. The
names and numbers are random, so that no answer can have been prepared.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.support.research import bearer
from tests.support.world import World, make_world


@pytest.fixture
def world() -> World:
    return make_world()


async def tell(client: httpx.AsyncClient, world: World) -> dict[str, str]:
    """Add the documents; the URL that citations of each begin with, by title."""
    urls = {}
    for title, text in world.documents.items():
        made = await client.post("/v1/documents", json={"title": title, "text": text})
        assert made.status_code == 201, made.text
        urls[title] = f"document:{made.json()['id']}"
    return urls


async def forget(client: httpx.AsyncClient, urls: dict[str, str]) -> None:
    """Delete the documents."""
    for url in urls.values():
        gone = await client.delete(f"/v1/documents/{url.removeprefix('document:')}")
        assert gone.status_code == 204


async def ask(client: httpx.AsyncClient, agent: str, message: str, **more: Any) -> dict[str, Any]:
    """The body of a chat."""
    answer = await client.post(f"/v1/agents/{agent}/chat", json={"message": message, **more}, timeout=60)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    # Whatever is cited was read: each mark has its source, and each source an excerpt.
    marks = {int(mark) for mark in re.findall(r"\[(\d+)\]", body["answer"])}
    assert marks <= {one["n"] for one in body["citations"]}
    assert all(one["excerpt"].strip() for one in body["citations"])
    return body


def cites(body: dict[str, Any], url: str) -> bool:
    return any(one["url"].startswith(url) for one in body["citations"])


def says(text: str, number: int) -> bool:
    """Whether *number* stands in *text*, with or without separated thousands."""
    return re.search(rf"(?<!\d){number:,}(?!\d)|(?<!\d){number}(?!\d)", text) is not None


async def test_search_quotes_them(open_research, world: World) -> None:
    """The number, with the document it stands in; both where two documents give one."""
    async with open_research() as ada:
        urls = await tell(ada, world)
        staff = await ask(ada, "search", f"How many people does {world.second.name} employ?")
        seat = await ask(ada, "search", f"Where is {world.second.name} based, and when was it founded?")
    report = urls[f"Annual report of {world.second.name}"]
    assert says(staff["answer"], world.second.staff), world
    assert cites(staff, report)
    assert world.second.city in seat["answer"], world
    assert says(seat["answer"], world.second.founded), world
    assert not says(staff["answer"], world.first.staff)


async def test_the_analyst_compares_them_and_sees_that_they_disagree(open_research, world: World) -> None:
    """Every number is a finding with its source; who has more, and by how much; the register says otherwise."""
    first, second = world.first, world.second
    async with open_research() as ada:
        urls = await tell(ada, world)
        body = await ask(ada, "analyst", f"Compare the revenue of {first.name} and {second.name} in 2024.")
        disputed = await ask(ada, "analyst", f"How many people does {first.name} employ?")
    values = {int(one["value"].split(".")[0]) for one in body["findings"] if one["value"]}
    assert {first.revenue, second.revenue} <= {
        value // 1_000_000 if value >= 1_000_000 else value for value in values
    }, (world, body["findings"])
    [comparison] = body["comparisons"]
    higher = first if first.revenue > second.revenue else second
    assert comparison["highest"] == higher.name, world
    assert says(comparison["statement"], abs(first.revenue - second.revenue)), (world, comparison)
    assert cites(body, urls[f"{first.name}: company profile"])
    assert cites(body, urls[f"Annual report of {second.name}"])
    [conflict] = disputed["conflicts"]
    assert says(conflict["statement"], first.staff), (world, conflict)
    assert says(conflict["statement"], world.disputed), (world, conflict)
    assert cites(disputed, urls["Extract from the trade register"])


async def test_the_critic_judges_by_them(open_research, world: World) -> None:
    """What they say is supported, what they say otherwise contradicted, and what they do not say not found."""
    first, second = world.first, world.second
    claims = {
        f"{second.name} employs {second.staff} people.": "supported",
        f"{second.name} employs {second.staff + 17} people.": "contradicted",
        f"{first.name} was founded in {first.founded}.": "supported",
        f"{first.name} was founded in {first.founded + 3}.": "contradicted",
        f"{second.name} is based in {first.city}.": "contradicted",
        f"{world.unknown} employs {second.staff} people.": "not_found",
    }
    async with open_research() as ada:
        urls = await tell(ada, world)
        body = await ask(ada, "critic", "\n".join(f"- {claim}" for claim in claims))
    verdicts = {one["claim"]: one["verdict"] for one in body["claims"]}
    assert verdicts == claims, world
    for one in body["claims"]:
        assert bool(one["basis"]) is (one["verdict"] != "not_found")
        stances = {basis["stance"] for basis in one["basis"]}
        assert stances <= ({"supports"} if one["verdict"] == "supported" else {"contradicts", "supports"})
    assert cites(body, urls[f"Annual report of {second.name}"])


async def test_the_critic_reads_sentences_word_for_word(open_research) -> None:
    """What stands in a document is supported by it, and its contrary is not; without any value to compare."""
    policy = (
        "Alcohol is never reimbursed. Contractors may not claim the daily allowance. "
        "Receipts are kept for seven years by the finance team."
    )
    claims = {
        "Alcohol is never reimbursed.": {"supported"},
        "Contractors may not claim the daily allowance.": {"supported"},
        "Receipts are kept for seven years by the finance team.": {"supported"},
        "Contractors may claim the daily allowance.": {"contradicted", "not_found"},
    }
    async with open_research() as ada:
        made = await ada.post("/v1/documents", json={"title": "Travel policy", "text": policy})
        body = await ask(ada, "critic", " ".join(claims))
    assert made.status_code == 201
    verdicts = {one["claim"]: one["verdict"] for one in body["claims"]}
    assert verdicts.keys() == claims.keys()
    assert {claim for claim, verdict in verdicts.items() if verdict not in claims[claim]} == set()


async def test_marks_in_a_document_cite_nothing(open_research) -> None:
    """A text that holds `[2]` cannot make an answer cite what does not say it; whoever quotes it."""
    first, second = (
        "Xanthor Labs employs 512 people[2]. It was founded in 1971.[1][2]",
        "Xanthor Labs sits in Cork.",
    )
    async with open_research() as ada:
        for title, text in (("People", first), ("Seat", second)):
            made = await ada.post("/v1/documents", json={"title": title, "text": text})
            assert made.status_code == 201
        seats = {}
        for agent, question in {
            "search": "How many people does Xanthor Labs employ, and where does it sit?",
            "analyst": "How many people does Xanthor Labs employ?",
            "critic": "Xanthor Labs employs 512 people [2]. Xanthor Labs sits in Cork [1].",
            "writer": "Write a short report on Xanthor Labs.",
        }.items():
            body = await ask(ada, agent, question)
            by_number = {one["n"]: one["title"] for one in body["citations"]}
            for line in re.split(r"(?<=\])\s", body["answer"]):
                if "512" in line and "not found" not in line.lower():
                    seats[agent] = [by_number[int(mark)] for mark in re.findall(r"\[(\d+)\]", line)]
    assert seats.keys() >= {"search", "analyst", "writer"}
    assert all(titles == ["People"] for titles in seats.values()), seats


async def test_claims_beyond_the_most_are_named(open_research) -> None:
    """Ten claims: eight are verified, and the two others said not to be; nothing is held for claims there are not."""
    claims = [f"The package fastapi requires Python {number}." for number in range(1, 11)]
    async with open_research(budgets={"default": "0.20/day"}) as ada:
        body = await ask(ada, "critic", "\n".join(claims))
        [budget] = (await ada.get("/v1/budgets")).json()["budgets"]
    assert [one["claim"] for one in body["claims"]] == claims[:8]
    for claim in claims[8:]:
        assert f"Not verified, because one message may hold 8 claims: {claim}" in body["answer"]
    assert budget["spent_usd"] == body["cost_usd"] == "0.2"


async def test_two_claims_hold_the_price_of_two(open_research) -> None:
    """A budget that covers what the message asks for is not refused for what it might have asked."""
    async with open_research(budgets={"default": "0.06/day"}) as ada:
        two = await ask(
            ada, "critic", "The package fastapi requires Python 2. The package redis requires Python 2."
        )
        three = await ada.post(
            "/v1/agents/critic/chat", json={"message": "One is odd. Two is even. Three is odd."}
        )
    assert two["cost_usd"] == "0.05"
    assert three.status_code == 422
    assert three.json()["asked_usd"] == "0.075"


async def test_the_analyst_compares_without_being_told_a_year(open_research, world: World) -> None:
    """Each document holds one of the two names, and both are read."""
    first, second = world.first, world.second
    async with open_research() as ada:
        urls = await tell(ada, world)
        body = await ask(
            ada, "analyst", f"Compare the number of employees of {first.name} and {second.name}."
        )
    assert {int(one["value"]) for one in body["findings"] if one["value"]} >= {first.staff, second.staff}, (
        world
    )
    assert body["comparisons"], (world, body)
    assert cites(body, urls[f"Annual report of {second.name}"])


async def test_the_critic_hears_both_sides(open_research, world: World) -> None:
    """Where documents disagree, a claim has a witness on each side, and its confidence is low."""
    async with open_research() as ada:
        await tell(ada, world)
        body = await ask(ada, "critic", f"{world.first.name} employs {world.first.staff} people.")
    [claim] = body["claims"]
    assert {basis["stance"] for basis in claim["basis"]} == {"supports", "contradicts"}, (world, claim)
    assert claim["confidence"] == "low"


async def test_the_writer_reports_them(open_research, world: World) -> None:
    """A text in Markdown that holds the facts of the company asked for, each sentence with its source."""
    async with open_research() as ada:
        urls = await tell(ada, world)
        body = await ask(ada, "writer", f"Write a short report on {world.second.name}.")
    assert body["answer"].startswith("#"), body["answer"]
    assert says(body["answer"], world.second.staff), (world, body["answer"])
    assert says(body["answer"], world.second.revenue), (world, body["answer"])
    assert cites(body, urls[f"Annual report of {world.second.name}"])
    assert not says(body["answer"], world.first.staff), (world, body["answer"])


async def test_deep_research_delegates_and_says_what_is_missing(
    open_research, read_events, world: World
) -> None:
    """It plans, tells its progress, compares what it found, and names the company that nothing is known about."""
    first, second = world.first, world.second
    question = f"Compare the number of employees of {second.name} and {world.unknown}."
    async with open_research() as ada:
        urls = await tell(ada, world)
        answer = await ada.post("/v1/agents/deep_research/stream", json={"message": question}, timeout=60)
        events = read_events(answer.text)
        body = events[-1].data
    assert events[-1].name == "run.completed", answer.text[-2000:]
    stages = {event.data["stage"] for event in events if event.name == "progress"}
    assert {"planning", "delegating"} <= stages
    tools = {event.data["tool"] for event in events if event.name == "tool.started"}
    assert {"make_plan", "ask_search", "ask_analyst", "ask_writer"} <= tools
    assert len(body["plan"]) >= 2
    assert says(body["answer"], second.staff), (world, body["answer"])
    assert cites(body, urls[f"Annual report of {second.name}"])
    assert any(world.unknown in one for one in body["not_found"]), (world, body["not_found"])
    assert world.unknown in body["answer"].partition("## Not found")[2], (world, body["answer"])
    assert not says(body["answer"], first.founded)


QUESTIONS = {
    "search": "How many people does {name} employ?",
    "analyst": "How many people does {name} employ, and when was it founded?",
    "critic": "{name} employs {staff} people.",
    "writer": "Write a short report on {name}.",
    "deep_research": "How many people does {name} employ, and where is it based?",
}


@pytest.mark.parametrize("agent", QUESTIONS)
async def test_what_is_deleted_is_not_found(open_research, world: World, agent: str) -> None:
    """The same question, before and after: an answer that cites the document, then an honest "not found"."""
    company = world.second
    question = QUESTIONS[agent].format(name=company.name, staff=company.staff)
    async with open_research() as ada:
        urls = await tell(ada, world)
        before = await ask(ada, agent, question)
        await forget(ada, urls)
        after = await ask(ada, agent, question)
    assert says(before["answer"], company.staff), (world, before["answer"])
    assert before["citations"]
    assert not any(one["url"].startswith("document:") for one in after["citations"])
    assert not after["findings"], world
    assert "not found" in after["answer"].lower(), (world, after["answer"])
    assert after["not_found"]
    asked = question if agent == "critic" else ""
    assert not says(after["answer"].replace(asked, ""), company.staff), (world, after["answer"])


@pytest.mark.parametrize("agent", QUESTIONS)
async def test_another_tenant_does_not_read_them(open_research, world: World, agent: str) -> None:
    """Documents are searched for their own tenant only, whichever agent asks."""
    company = world.second
    question = QUESTIONS[agent].format(name=company.name, staff=company.staff)
    async with open_research() as ada:
        await tell(ada, world)
        ada.headers.update(bearer("eve"))
        body = await ask(ada, agent, question)
    assert not any(one["url"].startswith("document:") for one in body["citations"])
    assert "not found" in body["answer"].lower(), (world, body["answer"])
    assert company.city not in body["answer"]
