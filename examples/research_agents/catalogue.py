"""Which agents there are, what each may be asked to spend, and how long that takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "AGENTS",
    "ANALYST",
    "CRITIC",
    "DEEP_RESEARCH",
    "MOST_CLAIMS",
    "MOST_PAGES",
    "MOST_SEARCHES",
    "SEARCH",
    "WRITER",
    "AgentSpec",
    "Processor",
    "Unit",
]

MOST_SEARCHES = 4  # searches one message may cause
MOST_PAGES = 4  # pages one message may have read
MOST_CLAIMS = 8  # claims one message may have verified


@dataclass(frozen=True, slots=True)
class Unit:
    """Something billable that an agent may use: so many times at most, at the price of *sku*.

    Attributes:
        sku: of the price book of Parallel, e.g. `search.fast` or `task.core`.
        most: how often one message may cause it.
        least: how often it causes it at least; what must fit into `max_cost_usd` for anything to be called.
        each_claim: whether it is caused once for each claim of the message.
    """

    sku: str
    most: int
    least: int = 0
    each_claim: bool = False


@dataclass(frozen=True, slots=True)
class Processor:
    """One depth of work.

    Attributes:
        name: what clients send: a search mode, a task processor or a chat model of Parallel.
        latency_hint: how long Parallel says it takes; the local server answers in milliseconds.
        description: when to choose it.
        units: what a message with it may use; the first one is what `price_usd` shows.
        unit: what the first one is, in words.
        premium: whether a caller needs the scope `agents:premium` for it.
    """

    name: str
    latency_hint: str
    description: str
    units: tuple[Unit, ...]
    unit: str
    premium: bool = False


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What the endpoint factory needs to know about an agent.

    Attributes:
        id: the path segment.
        name: the heading in the documentation.
        description: what it does and does not.
        instructions: what a language model is told, where one is configured.
        processors: what may be chosen, cheapest first.
        default: the processor used when none is chosen.
        example: a message that shows what it is for.
        searching: how the run is described while tools work, in `progress`.
    """

    id: str
    name: str
    description: str
    instructions: str
    processors: tuple[Processor, ...]
    default: str
    example: str
    searching: str = "searching"

    def processor(self, name: str | None) -> Processor | None:
        """The processor *name*, the default for None; None when the agent has no such processor."""
        wanted = name or self.default
        return next((one for one in self.processors if one.name == wanted), None)


_CITE = "Cite each sentence with the [n] of its source. Say plainly what was not found; never fill a gap from memory."


def _search(mode: str, latency: str, description: str) -> Processor:
    units = (Unit(f"search.{mode}", MOST_SEARCHES, least=1), Unit("extract.url", MOST_PAGES))
    return Processor(mode, latency, description, units, "search")


SEARCH = AgentSpec(
    id="search",
    name="Search",
    description="Quick answers in sentences of the sources, each with a citation, or an honest 'not found'. It searches "
    "the web and your documents and reads pages whose address stands in the message. It looks up and quotes; it does not "
    "reason, calculate or remember.",
    instructions="Look the question up with web_search and search_documents, and with read_page where the message names "
    f"an address. Answer only from what they return. {_CITE}",
    processors=(
        _search("turbo", "under a second", "The fewest candidates; for names and definitions."),
        _search("fast", "about a second", "The usual choice."),
        _search("basic", "one to three seconds", "More candidates and longer excerpts."),
        _search(
            "advanced",
            "three seconds and more",
            "The most candidates; for questions in other words than the sources.",
        ),
    ),
    default="fast",
    example="What does the nonlocal statement do?",
)


def _task(
    name: str, latency: str, description: str, *, most: int, unit: str, premium: bool = False
) -> Processor:
    return Processor(
        name,
        latency,
        description,
        (Unit(f"task.{name}", most, least=1, each_claim=most > 1),),
        unit,
        premium=premium,
    )


ANALYST = AgentSpec(
    id="analyst",
    name="Analyst",
    description="Structured findings over the sources and your documents: who or what, which measure, which number with "
    "its unit, and the numbers compared; says where two sources disagree and what it did not find. It compares what is "
    "written; it does not forecast or judge.",
    instructions=f"Call analyse once with the whole question, then report what it returned. {_CITE}",
    processors=(
        _task("base", "15 to 100 seconds", "Few sources; for one number.", most=1, unit="task run"),
        _task("core", "1 to 5 minutes", "The usual choice.", most=1, unit="task run"),
        _task("core2x", "1 to 10 minutes", "More sources; for comparisons.", most=1, unit="task run"),
        _task("pro", "2 to 10 minutes", "The most sources.", most=1, unit="task run"),
    ),
    default="core",
    example="Compare the licenses of the packages fastapi and redis.",
    searching="analysing",
)

CRITIC = AgentSpec(
    id="critic",
    name="Critic",
    description="Verifies claims: each sentence of the message is supported, contradicted or not found, with how sure that "
    "is and the passages it rests on. It compares with sources; what no source mentions it does not judge.",
    instructions=f"Call verify_claim for each claim of the message, then report every verdict. {_CITE}",
    processors=(
        _task("base", "15 to 100 seconds", "Few sources.", most=MOST_CLAIMS, unit="claim"),
        _task("core", "1 to 5 minutes", "The usual choice.", most=MOST_CLAIMS, unit="claim"),
        _task("pro", "2 to 10 minutes", "More sources for each claim.", most=MOST_CLAIMS, unit="claim"),
        _task("ultra", "5 to 25 minutes", "The most sources.", most=MOST_CLAIMS, unit="claim", premium=True),
    ),
    default="core",
    example="The nonlocal statement refers to variables of the nearest enclosing scope. The package fastapi requires Python 2.",
    searching="verifying",
)


def _chat(model: str, latency: str, description: str) -> Processor:
    return Processor(
        model,
        latency,
        description,
        (Unit(f"chat.{model}", 1, least=1), Unit("search.fast", MOST_SEARCHES)),
        "text",
    )


WRITER = AgentSpec(
    id="writer",
    name="Writer",
    description="A short report in Markdown on what the message asks for: sentences of the sources and of your documents, "
    "put in order under headings, each with a citation, and a section on what was not found. It arranges what is written "
    "elsewhere; it does not invent.",
    instructions="Gather material with search_documents and web_search, then write a short report in Markdown with "
    f"headings. {_CITE}",
    processors=(
        _chat("speed", "a few seconds", "Short texts; the usual choice."),
        _chat("lite", "10 to 60 seconds", "A little more material."),
        _chat("base", "15 to 100 seconds", "More material."),
        _chat("core", "1 to 5 minutes", "The most material."),
    ),
    default="speed",
    example="Write a short report on the global and nonlocal statements.",
    searching="gathering",
)


def _deep(name: str, latency: str, description: str, *, premium: bool = False) -> Processor:
    units = (
        Unit(f"task.{name}", 1, least=1),
        Unit("search.fast", MOST_SEARCHES * 2, least=1),
        Unit("extract.url", MOST_PAGES),
        Unit("task.core", 1 + MOST_CLAIMS),
        Unit("chat.speed", 1),
    )
    return Processor(name, latency, description, units, "plan; what it delegates is added", premium=premium)


DEEP_RESEARCH = AgentSpec(
    id="deep_research",
    name="Deep research",
    description="Plans sub-questions, has the other four search, analyse, verify and write, reports its progress, and says "
    "what it did not find. It takes and costs as much as all of them together.",
    instructions="Call make_plan with the question. Then ask_search for each sub-question, ask_analyst with the whole "
    "question, ask_critic with the most important sentences found, and ask_writer last; report what the writer wrote. "
    f"{_CITE}",
    processors=(
        _deep("pro", "2 to 10 minutes", "The usual choice."),
        _deep("ultra", "5 to 25 minutes", "A deeper plan.", premium=True),
        _deep("ultra2x", "5 to 50 minutes", "The deepest plan.", premium=True),
    ),
    default="pro",
    example="Compare the global and nonlocal statements and say what each is for.",
    searching="researching",
)

AGENTS: Mapping[str, AgentSpec] = {spec.id: spec for spec in (SEARCH, ANALYST, CRITIC, WRITER, DEEP_RESEARCH)}
