"""What people ask of a company, a plant or a person, and the words in which texts answer.

"How many employees does X have?" and "340 people work for X" share the name and nothing else. Each *relation* here has
the words that always speak of it, and forms that speak of it only beside a number, a place or a person. `terms` gives
what a text tells a term of its own (`rel_staff`), so that index, ranking and answers meet there. Kept small and literal on
purpose: a word that the language of manuals uses otherwise ("found", "based on", "built-in", "opened") is only here in a
form which that language does not use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["INDEXED", "RELATIONS", "Relation", "asked_relations", "told_relations", "told_spans"]


@dataclass(frozen=True, slots=True)
class Relation:
    """One thing that can be asked of something.

    Attributes:
        name: identifies it; its index term is `rel_` and the name.
        label: how an answer calls it.
        words: surface forms that always speak of it, in questions and in texts.
        told: a pattern of what else tells it in a text; lower case, may be empty.
        asked: a pattern of what else asks for it in a question; lower case, may be empty. Where it has groups, these are
            the words that ask, and what stands between them is not.
        families: of the quantities it takes, see `engine.numbers`; empty for what is no quantity.
        wants: what answers it.
        single: whether there is one value only, so that another one contradicts it.
        indexed: whether it is a search term; not where manuals use the same words all the time.
    """

    name: str
    label: str
    words: frozenset[str]
    told: str = ""
    asked: str = ""
    families: frozenset[str] = frozenset()
    wants: str = "number"
    single: bool = True
    indexed: bool = True


def _relation(
    name: str,
    label: str,
    words: str,
    *,
    told: str = "",
    asked: str = "",
    families: str = "",
    wants: str = "number",
    single: bool = True,
    indexed: bool = True,
) -> Relation:
    return Relation(
        name,
        label,
        frozenset(words.split()),
        told,
        asked,
        frozenset(families.split()),
        wants,
        single,
        indexed,
    )


_N = r"(?<!\d)\d[\d.,\u00a0]{0,30}(?:\s+(?:thousand|million|billion|[kmgt]n?))?"
_MONEY = r"(?:us\$|[$€£¥]|(?:usd|eur|gbp|chf)\s?)\s?\d|(?<!\d)\d[\d.,]{0,30}\s{0,3}(?:(?:thousand|million|billion|m|bn)\s+)?(?:us\s)?(?:dollars|euros?|pounds|francs|usd|eur|gbp|chf)\b"
_MAKING = r"(?:produc|generat|deliver|suppl|yield|feed|output|manufactur)\w*|(?:turn|put|churn)(?:s|ed|ing)?\sout|rated|make[sd]?|made"

# States of which "how long" asks for a time and not for a length.
_LASTING = r"(?:unavailable|down|offline|closed|open|interrupted|delayed|blocked|missing|valid|in force|kept|stored|out|on leave|asleep)"

# What is long, high or much without being a body: its adjective asks for no measure of a body.
_NO_BODY = (
    r"(?:the\s|an?\s|its\s|their\s|your\s|our\s|your\s)?(?:[\w-]+\s){0,3}?(?:warrant(?:y|ies)|guarantee|contract|notice|period|term|deadline|delay|"
    r"meeting|trip|journey|flight|break|holiday|leave|course|trial|training|stay|wait|queue|session|interview|probation|retention|budget|loss|"
    r"losses|fees?|tax|taxes|allowance|rates?|prices?|costs?|salary|salaries|wages?|fines?|risk|revenue|turnover|profit|share|output|capacity|"
    r"deposit|rent|debt|deficit|surplus|penalty|damage|yield|consumption|demand|temperature|limit)\b"
)

RELATIONS: tuple[Relation, ...] = (
    _relation(
        "staff",
        "employees",
        "employee employees employ employs employed employing employer workforce headcount personnel payroll staffed "
        "staffers",
        told=rf"\bstaff\s(?:of|is|was|numbers?|counts?|consists|comprises|stands|grew|has)\b|{_N}\s(?:[\w-]+\s){{0,2}}(?:staff|workers)\b"
        rf"|\b{_N}\s(?:[\w-]+\s)?(?:people|persons|colleagues|men and women)\s(?:\w+\s)?(?:work|on\s(?:its|the)\spayroll|strong)"
        rf"|\bteam\sof\s(?:[\w-]+\s){{0,2}}{_N}|\b(?:job|work)s?\s(?:for|to|of|at)\s(?:[\w-]+\s){{0,2}}{_N}\s|{_N}\s(?:[\w-]+\s)?jobs\b",
        asked=r"\bstaff\b|\bworkers\b|\bpeople\swork\w*|\bhow many (people|persons)\s.*\bwork\w*|\bsize of (?:the )?(?:team|workforce)|\bjobs\b",
        families="count number",
    ),
    _relation(
        "population",
        "population",
        "population inhabitants inhabitant residents populated",
        told=rf"{_N}\s(?:people|souls|citizens)\s(?:live|are living|call)|\bhome\sto\s(?:[\w-]+\s){{0,2}}{_N}\s(?:people|citizens)",
        asked=r"\bhow many (?:people|persons)\s(?:live|lived)\b|\bhow many (people|persons)\s.*\b(lived?|have)\b|\bpeople live\b",
        families="count number",
    ),
    _relation(
        "revenue",
        "revenue",
        "revenue revenues turnover sales receipts",
        told=rf"\b(?:earned|earns|took in|takes in|brought in|brings in|grossed|booked|made|generated|turned over)\s(?:[\w-]+\s){{0,3}}(?:{_MONEY})",
        asked=r"\bhow much (money )?(?:does|did|has)\s.*\b(earn(?:ed)?|take in|make)\b",
        families="money",
    ),
    _relation("profit", "profit", "profit profits surplus", told=r"\bnet\s(?:income|earnings)\b", families="money"),
    _relation("loss", "loss", "", told=r"\bloss(?:es)?\s(?:of|was|is|were|are|amount\w*|stood|came|totall?ed|reached)\b|\blost\s(?:[\w-]+\s){0,2}[$€£]", asked=r"\bloss(?:es)?\b", families="money"),
    _relation("budget", "budget", "budget budgets", families="money"),
    _relation(
        "funding",
        "funding",
        "funding funded",
        told=rf"\b(?:raised|raises|invested|invests|received)\s(?:[\w-]+\s){{0,3}}(?:{_MONEY})|\binvestments?\sof\b",
        asked=r"\bhow much\b.*\b(raised?|invest(?:ed)?)\b",
        families="money",
    ),
    _relation(
        "cost",
        "cost",
        "cost costs costing price prices priced",
        told=rf"\b(?:paid|worth|spent|spends|sells\sfor|sold\sfor|charges)\s(?:[\w-]+\s){{0,3}}(?:{_MONEY})",
        asked=rf"\bhow (?:much (?:is|was|were|are|money)|expensive)\b(?!\s{_NO_BODY})|\bmost expensive\b|\bcheapest\b",
        families="money",
    ),
    _relation(
        "founded",
        "founding",
        "founded founding founder founders established cofounded cofounder incorporated",
        told=r"\bset(?:ting)?\sup\b|\b(?:dates|goes|going|dating|traces\sits\sorigins?)\sback\sto\b|\bcame\sinto\sbeing\b"
        r"|\b(?:created|formed|started|launched|began|begun|born|registered|brought\sto\slife|called\sinto\sbeing)\s"
        # "launched nine ships in 2023" founds nothing
        r"(?!(?:its|their|an?\snew|new|several|some|many|another|\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\s)(?:[\w.-]+\s){0,6}?(?:in|by|on)\s"
        r"|\b(?:existed|existing|around|in\sbusiness|active)\ssince\b|\bsince\sits\s(?:start|creation|inception|foundation)\b|\byear\sof\sfoundation\b|\b(?:creat|form|start)(?:ed|or|er)\sof\b",
        asked=r"\bset\sup\b|\bwhen\sdid\s.*\b(start|begin|originate)\b(?!\s(?:up|operat|produc))|\bwhen\swas\s.*\b(created|formed|started|launched)\b"
        r"|\bwho\s(?:created|formed|started|launched)\b|\bhow\sold\b|\bfoundation\sof\b|\b(?:created|formed|started|launched)\s(?:in|by)\b",
        families="date",
        wants="date",
    ),
    _relation(
        "seat",
        "seat",
        "headquarters headquartered headquarter hq",
        told=r"\b(?:based|located|situated|resident|domiciled|at\shome)\s(?:in|at|near|on|out)\b|\b[\w]+-based\b|\b(?:its|the|a)\s(?:main\s|principal\s|registered\s)?(?:seat|home)\s(?:is|was|in|lies|being)\b"
        r"|\b(?:head|main|principal|central)\soffices?\b|\b(?:seat|home)\s(?:is\s)?in\b|\bstands\s(?:in|at|near|on|outside)\b|\blies\s(?:in|at|near|on|outside)\b|\bseat\sof\b|\b(?:runs|works|operates)\sfrom\s|\b(?:seat|location):",
        asked=r"^where(?:abouts)?\s(?:is|are|was|were)\b(?!.*\b(?:founded|established|born|built|called|used|defined)\b)|\bwhere\s(?:does|do|did)\s.*\b(sit|stand|lie|seat|home|base)\b|\bseat\b|\bbased\b(?!\son)|\blocated\b|\bsituated\b"
        r"|\b(?:head|main)\soffice\b|\blocation\sof\b|\b(?:in\s)?(?:which|what)\s(?:city|town|country|place|village)\b",
        wants="place",
    ),
    _relation(
        "output",
        "output",
        "output outputs capacity",
        told=rf"\b(?:{_MAKING})\s(?:[\w-]+\s){{0,4}}?{_N}\s|\d\s?(?:[kmgt]w|(?:kilo|mega|giga|tera)?watts?)\b|\bpower\sof\s",
        asked=r"\bhow (?:much|many)\b.*\b(produced?|generated?|delivered?|suppl(?:y|ies|ied)|manufactured?)\b|\bhow powerful\b|\b(?:electric|nominal|rated|peak|installed)\spower\b|\bpower of the\b",
        families="power energy mass volume count number",
    ),
    _relation("length", "length", "length", told=rf"{_N}\s?[\w]+\slong\b|\b(?:spans?|stretch(?:es)?|runs?|extends?|measures?)\s(?:[\w-]+\s){{0,3}}{_N}", asked=rf"^how long\s(?:is|are|was)\b(?!.*\b{_LASTING}\b)(?!\s{_NO_BODY})", families="length"),
    _relation("height", "height", "height", told=rf"{_N}\s?[\w]+\s(?:tall|high)\b|\b(?:rises|stands|towers)\s(?:[\w-]+\s){{0,3}}{_N}", asked=rf"^how (?:tall|high)\b(?!\s(?:is|are|was|were)\s{_NO_BODY})", families="length"),
    _relation("depth", "depth", "depth", told=rf"{_N}\s?[\w]+\sdeep\b", asked=r"^how deep\b", families="length"),
    _relation("width", "width", "width", told=rf"{_N}\s?[\w]+\s(?:wide|across|broad)\b", asked=r"^how wide\b", families="length"),
    _relation("weight", "weight", "weigh weighs weighed weight", told=rf"\bmass of\s(?:[\w-]+\s){{0,2}}{_N}", asked=r"^how heavy\b|\bmass\b", families="mass"),
    _relation("area", "area", "area", told=rf"\bcovers?\s(?:[\w-]+\s){{0,3}}{_N}|\bhectares?\b|\bsquare\s(?:kilo)?met", asked=rf"^how (?:large|big)\b(?!\s(?:is|are|was|were)\s{_NO_BODY})", families="area"),
    _relation("speed", "speed", "speed speeds velocity", told=rf"{_N}\s?(?:km/h|kmh|mph|m/s|knots)", asked=r"^how fast\b", families="speed"),
    _relation("temperature", "temperature", "temperature temperatures", told=rf"{_N}\s?(?:°|degrees)", asked=r"^how (?:hot|cold|warm)\b", families="temperature"),
    _relation("distance", "distance", "distance", told=rf"{_N}\s?[\w]+\s(?:away|from)\b", asked=r"^how far\b", families="length"),
    _relation("duration", "duration", "duration", told=rf"\b(?:took|takes|lasts?|lasted)\s(?:[\w-]+\s){{0,3}}{_N}|\b(?:for|after)\s(?:[a-z]+\s){{0,2}}{_N}\s(?:second|minute|hour|day|week|month|year)s?\b", asked=rf"^how long\s(?:does|did|do|will|has)\b|^how long\s(?:is|are|was|were)\b(?=.*\b{_LASTING}\b)", families="time"),
    _relation(
        "leader",
        "head",
        "ceo chairman chairwoman chairperson president",
        told=r"\bchief\sexecutive\b|\b(?:managing\s)?director\b|\b(?:led|headed|run|managed|chaired|directed)\sby\b|\b(?:leads|heads|chairs|directs|manages|presides)\b|\bat\sthe\shelm\b|\bin\scharge\sof\b|\b(?:has|had)\s(?:led|headed|run|managed)\b|\bboss\b|\bhead\sof\s",
        asked=r"\bchief\sexecutive\b|\b(?:managing\s)?director\b|\bwho\s(?:leads?|led|heads?|headed|runs?|ran|manages|directs|chairs)\b|\b(?:led|headed|managed|run|chaired|directed)\sby\b|\bboss\b|\bwho is (?:the )?head of\b|\bin charge of\b|\b(?:leads|heads)\b|\bhead of\b",
        wants="person",
    ),
    _relation(
        "designer",
        "designer",
        "designed designer architect invented inventor designers",
        told=r"\b(?:drawn\sup|conceived|devised|developed)\s(?:[\w-]+\s){0,2}by\b|\b(?:the\s)?(?:work|brainchild|invention)\sof\b",
        wants="person",
    ),
    _relation(
        "owner",
        "owner",
        "owns owned owner owners acquired acquires acquisition bought",
        told=r"\bbelongs?\sto\b|\bsubsidiary\sof\b|\bparent\scompany\b|\bpart\sof\sthe\b|\btaken\sover\b|\btook\sover\b|\bpurchased\sby\b|\bin\sthe\shands\sof\b",
        asked=r"\bbelongs?\sto\b|\bsubsidiary\sof\b|\bparent\scompany\b|\btaken\sover\b|\bto whom does\b|\bbuy\b",
        wants="person",
    ),
    _relation(
        "opened",
        "opening",
        "inaugurated commissioned inauguration",
        told=r"\bopened\s(?:its\sdoors\s|to\s\w+(?:\s\w+)?\s)?(?:in|on)\s|\b(?:went|gone|came|been|put|entered)\s(?:into\s|on\s|in\s)?(?:operation|service|line|online|stream)\b|\bstarted\s(?:up|operat\w+|production)\b|\bbegan\soperat\w+|\boperational\s(?:since|in)\b|\b(?:running|operating|online|open)\ssince\b|\bfirst\scriticality\b",
        asked=r"\bwhen\s(?:did|was|were|has)\s.*\b(open(?:ed)?|(?:come |go |put |taken )?(?:into |in )?(?:operation|service)|(?:come |go )online|(?:start |begin )operat(?:ing|ions?)|go live|start up|start production)\b|\bopened\s(?:in|on)\b|\b(?:into|in) (?:operation|service)\b|\bopening of\b|\bonline since\b",
        families="date",
        wants="date",
    ),
    _relation(
        "built",
        "construction",
        "constructed erected",
        told=r"\b(?:was|were|been)\sbuilt\b|\bbuilt\s(?:in\s\d|between|from|by)\b|\bconstruction\s(?:of|began|started|ended|was|took)\b|\bcompleted\sin\b",
        asked=r"\b(?:was|were)\s.*\b(built)\b|\bbuilt\s(?:in\s\d|by)\b|\bwho built\b|\bconstruction of\b|\bcompleted\sin\b",
        families="date",
        wants="date",
    ),
    _relation(
        "closed",
        "closure",
        "decommissioned",
        told=r"\b(?:closed|shut|dissolved|ceased|wound\sup)\s(?:down\s|operat\w+\s|its\s\w+\s|for\sgood\s)?(?:in|on)\s",
        asked=r"\bwhen\s(?:did|was|were)\s.*\b(closed?|shut(?: down)?|dissolved|cease(?: operations?)?)\b|\b(?:closed|shut|dissolved)\s(?:down\s)?(?:in|on)\b",
        families="date",
        wants="date",
    ),
    _relation("born", "birth", "birth birthplace", told=r"\bborn\b", asked=r"\bborn\b", families="date", wants="date"),
    _relation(
        "customers",
        "customers",
        "",
        told=rf"{_N}\s(?:[\w-]+\s){{0,2}}(?:customers|clients|users|subscribers)\b|\b(?:customers|clients|users|subscribers):\s",
        asked=r"\bhow many (?:[\w-]+\s){0,2}(?:customers|clients|users|subscribers)\b|\bnumber of (?:customers|clients|users|subscribers)\b|\b\d[\d,.]*\s(?:customers|clients|users|subscribers)\b",
        families="count number",
    ),
    _relation(
        "makes",
        "products",
        "manufactures manufacture manufacturer manufactured manufacturing",
        told=r"\b(?:makes?|builds?|produces?|sells|crafts|specialis\w+\sin|specializ\w+\sin|maker\sof|producer\sof)\s",
        asked=r"\bwhat\s(?:does|do|did)\s.*\b(makes?|produce|builds?|sell)\b(?=\s*\??$|\sin\b)|\bwhich products\b|\bproducts of\b|\b(?:makes|produces|builds|sells|produce)\s",
        wants="thing",
        single=False,
        indexed=False,
    ),
    _relation(
        "active",
        "operates in",
        "",
        told=r"\b(?:operat\w+|active|present|offices|branches|subsidiar\w+|do(?:es|ing)?\sbusiness|business)\s(?:[\w-]+\s){0,3}in\s|\b(?:serves|operat\w+)\s",
        asked=r"\boperat(?:e|es|ed|ing)\s(?:[\w-]+\s){0,2}in\b|\bactive\sin\b|\bpresent\sin\b|\bdo(?:es|ing)?\sbusiness\sin\b|\bwhere\s(?:does|do)\s.*\b(operate)\b|\b(?:which|what) (countries|markets)\b.*\b(operate|active|serve)\w*\b",
        wants="place",
        single=False,
        indexed=False,
    ),
)  # fmt: skip

INDEXED = frozenset(one.name for one in RELATIONS if one.indexed)
_BY_WORD: dict[str, list[str]] = {}
for _one in RELATIONS:
    for _word in _one.words:
        _BY_WORD.setdefault(_word, []).append(_one.name)
_TOLD = [(one.name, re.compile(one.told)) for one in RELATIONS if one.told]
_ASKED = [(one.name, re.compile(one.asked)) for one in RELATIONS if one.asked]
_SURFACE = re.compile(r"[a-z]+")


@lru_cache(maxsize=16_384)
def told_relations(lowered: str) -> frozenset[str]:
    """The names of the relations that the text *lowered*, in lower case, speaks of."""
    found = {name for word in _SURFACE.findall(lowered) if word in _BY_WORD for name in _BY_WORD[word]}
    found.update(name for name, pattern in _TOLD if name not in found and pattern.search(lowered))
    return frozenset(found)


def told_spans(lowered: str) -> dict[str, list[tuple[int, int]]]:
    """The relations that the text *lowered* speaks of, by name, each with the spans of the first and last word that tell it."""
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in told_relations(lowered)}
    for name, pattern in _TOLD:
        for match in pattern.finditer(lowered):
            words = list(_SURFACE.finditer(lowered, *match.span()))
            found.setdefault(name, []).extend(word.span() for word in (*words[:1], *words[1:][-1:]))
    return found


def asked_relations(lowered: str) -> dict[str, list[tuple[int, int]]]:
    """The relations that the question *lowered* asks for, by name, each with the spans of the words that ask."""
    found: dict[str, list[tuple[int, int]]] = {}
    for match in _SURFACE.finditer(lowered):
        for name in _BY_WORD.get(match.group(), ()):
            found.setdefault(name, []).append(match.span())
    for name, pattern in _ASKED:
        for match in pattern.finditer(lowered):
            groups = [span for span in match.regs[1:] if span != (-1, -1)]
            found.setdefault(name, []).extend(groups or [match.span()])
    return found
