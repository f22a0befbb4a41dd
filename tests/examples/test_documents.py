"""Documents over HTTP: searched from the moment they are there to the moment they are not, by their own tenant only."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import httpx
import pytest

from tests.support.research import bearer

MOST_CHARACTERS = 200_000


class Fact:
    """Something that nobody has read about: a made-up place and a number."""

    def __init__(self) -> None:
        syllables = ["bra", "vel", "kor", "zim", "tha", "lun", "mor", "dex", "fen", "gol"]
        self.name = "".join(secrets.choice(syllables) for _ in range(3)).capitalize()
        self.number = 1000 + secrets.randbelow(9000)
        self.question = f"How many lanterns does {self.name} have?"
        self.document = {
            "title": f"About {self.name}",
            "text": f"{self.name} has {self.number} lanterns.\n",
        }


@pytest.fixture
def fact() -> Fact:
    return Fact()


async def asked(client: httpx.AsyncClient, fact: Fact, **headers: str) -> dict[str, Any]:
    """The search agent's answer to the question of *fact*."""
    answer = await client.post("/v1/agents/search/chat", json={"message": fact.question}, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_it_is_found_at_once_and_gone_at_once(open_research: Any, fact: Fact) -> None:
    """The question before, between and after: only while the document is there is it answered, and cited."""
    async with open_research() as ada:
        before = await asked(ada, fact)
        made = await ada.post("/v1/documents", json=fact.document)
        between = await asked(ada, fact)
        deleted = await ada.delete(made.headers["location"])
        after = await asked(ada, fact)
    document = made.json()["id"]
    assert (made.status_code, deleted.status_code) == (201, 204)
    assert str(fact.number) in between["answer"], between
    assert any(one["url"].startswith(f"document:{document}") for one in between["citations"])
    for other in (before, after):
        assert str(fact.number) not in other["answer"]
        assert other["not_found"] == [fact.question]
        assert other["citations"] == []


async def test_it_is_kept_as_it_was_given(open_research: Any, fact: Fact) -> None:
    """The text word for word, what it is called and where it comes from; the list has no texts."""
    given = {**fact.document, "source_url": "https://lanterns.example/a?b=c"}
    async with open_research() as ada:
        made = await ada.post("/v1/documents", json=given)
        found = (await ada.get(made.headers["location"])).json()
        listed = (await ada.get("/v1/documents")).json()
    assert {name: found[name] for name in given} == given
    assert found["characters"] == len(given["text"])
    assert found["passages"] == 1
    assert listed == {"documents": [made.json()], "next": None}
    assert "text" not in made.json()


async def test_the_same_text_is_not_added_twice(open_research: Any, fact: Fact) -> None:
    """200 and the one that is there, also for ten who add it at once; deleted, it can be added again."""
    async with open_research() as ada:
        answers = await asyncio.gather(*(ada.post("/v1/documents", json=fact.document) for _ in range(10)))
        ids = {answer.json()["id"] for answer in answers}
        listed = (await ada.get("/v1/documents")).json()["documents"]
        await ada.delete(f"/v1/documents/{next(iter(ids))}")
        again = await ada.post("/v1/documents", json=fact.document)
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len(ids) == len(listed) == 1
    assert again.status_code == 201
    assert again.json()["id"] not in ids


async def test_they_are_listed_newest_first_and_in_pages(open_research: Any) -> None:
    """What is added meanwhile shifts no page."""
    async with open_research() as ada:
        made = [(await ada.post("/v1/documents", json=Fact().document)).json()["id"] for _ in range(3)]
        whole = (await ada.get("/v1/documents")).json()
        page = (await ada.get("/v1/documents?limit=2")).json()
        await ada.post("/v1/documents", json=Fact().document)
        rest = (await ada.get("/v1/documents", params={"limit": 2, "after": page["next"]})).json()
        broken = await ada.get("/v1/documents?after=nonsense")
    assert {one["id"] for one in whole["documents"]} == set(made)
    assert page["documents"] + rest["documents"] == whole["documents"]
    assert rest["next"] is None
    assert broken.status_code == 422


async def test_another_tenants_document_does_not_exist(open_research: Any, fact: Fact) -> None:
    """Not by its id, not in a list, not in an answer; the same text can be theirs too. A colleague has all of it."""
    async with open_research() as ada:
        eve, bob = bearer("eve"), bearer("bob")
        made = (await ada.post("/v1/documents", json=fact.document)).json()["id"]
        unknown = f"doc_{secrets.token_hex(16)}"
        refused = [
            [
                await ada.get(f"/v1/documents/{one}", headers=eve),
                await ada.delete(f"/v1/documents/{one}", headers=eve),
            ]
            for one in (made, unknown, "nonsense")
        ]
        listed = (await ada.get("/v1/documents", headers=eve)).json()["documents"]
        told = await asked(ada, fact, **eve)
        page = f"document:{made}"
        read = await ada.post("/v1/agents/search/chat", json={"message": f"Read {page}"}, headers=eve)
        theirs = await ada.post("/v1/documents", json=fact.document, headers=eve)
        shared = await asked(ada, fact, **bob)
        still = await ada.get(f"/v1/documents/{made}", headers=bob)
    told_404 = [[(one.status_code, one.json()["detail"]) for one in several] for several in refused]
    assert told_404 == [[(404, "There is no such document.")] * 2] * 3
    assert listed == []
    assert str(fact.number) not in told["answer"] + read.json()["answer"]
    assert theirs.status_code == 201
    assert theirs.json()["id"] != made
    assert str(fact.number) in shared["answer"]
    assert still.status_code == 200


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"title": ""}, "#/title"),
        ({"title": " \n "}, "#/title"),
        ({"title": "x" * 301}, "#/title"),
        ({"text": ""}, "#/text"),
        ({"text": " \n\t"}, "#/text"),
        ({"text": "a\x00b"}, "#/text"),
        ({"text": "x" * (MOST_CHARACTERS + 1)}, "#/text"),
        ({"text": 5}, "#/text"),
        ({"source_url": "javascript:alert(1)"}, "#/source_url"),
        ({"source_url": "https://x.example/ y"}, "#/source_url"),
        ({"tenant": "rivals"}, "#"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_added_is_refused(
    open_research: Any, changes: dict[str, Any], pointer: str
) -> None:
    """422 with the place of the fault and without the input; nothing is kept."""
    async with open_research() as ada:
        answer = await ada.post("/v1/documents", json={"title": "T", "text": "A text.", **changes})
        listed = (await ada.get("/v1/documents")).json()["documents"]
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    assert len(answer.content) < 2000
    assert listed == []


async def test_the_longest_text_is_taken(open_research: Any, fact: Fact) -> None:
    """200,000 characters, and what stands at its very end is found."""
    sentence = fact.document["text"].strip()
    filler = "Nothing of interest happens in this sentence.\n\n"
    text = (
        (filler * (MOST_CHARACTERS // len(filler) + 1))[: MOST_CHARACTERS - len(sentence) - 2]
        + "\n\n"
        + sentence
    )
    assert len(text) == MOST_CHARACTERS
    async with open_research() as ada:
        made = await ada.post("/v1/documents", json={"title": f"Chronicle of {fact.name}", "text": text})
        answer = await asked(ada, fact)
    assert made.status_code == 201, made.text
    assert made.json()["characters"] == MOST_CHARACTERS
    assert made.json()["passages"] > 100
    assert str(fact.number) in answer["answer"]


async def test_a_tenant_has_room_for_two_hundred(open_research: Any) -> None:
    """The next one is refused with 409 that says so; deleting makes room; another tenant has its own."""
    async with open_research() as ada:
        given = [{"title": f"Note {n}", "text": f"Note number {n}."} for n in range(200)]
        made = await asyncio.gather(*(ada.post("/v1/documents", json=one) for one in given))
        full = await ada.post("/v1/documents", json=Fact().document)
        others = await ada.post("/v1/documents", json=Fact().document, headers=bearer("eve"))
        await ada.delete(made[0].headers["location"])
        again = await ada.post("/v1/documents", json=Fact().document)
    assert {one.status_code for one in made} == {201}
    problem = full.json()
    assert full.status_code == 409
    assert (problem["unit"], problem["limit"], problem["used"]) == ("documents", 200, 200)
    assert (others.status_code, again.status_code) == (201, 201)
