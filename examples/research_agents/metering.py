"""What one run used and cost, counted where the calls leave: in the tools, around the SDK.

Agno's own numbers cannot serve: they vanish when a client leaves mid-stream, show nothing of retries, and never hold a
price. A call is *dispatched* at its highest price before it leaves, then *settled* or, where the other side provably
took nothing, *released*. What is never settled (a timeout, a lost client) stays counted: it may have been billed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from prodkit.core.money import format_usd

__all__ = ["Dispatched", "RunMeter", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """Something the agent was given to read and may cite.

    Attributes:
        n: the number in `[n]`, from 1, in order of first appearance in the run.
        url: where it can be looked up.
        title: what it calls itself.
        excerpt: the parts that were read; every sentence that cites the source stands in it.
    """

    n: int
    url: str
    title: str
    excerpt: str


@dataclass(slots=True)
class Dispatched:
    """One billable call that is on its way. Settle or release it once; otherwise it stays presumed spent."""

    meter: RunMeter
    nano: int
    open: bool = True

    def settle(self, nano: int, skus: dict[str, int]) -> None:
        """The call was answered: charge *nano* instead of the estimate and count what was delivered."""
        if self.open:
            self.open = False
            self.meter.presumed_nano -= self.nano
            self.meter.settled_nano += nano
            self.meter.skus.update(skus)

    def release(self) -> None:
        """The other side took nothing: the estimate is given back."""
        if self.open:
            self.open = False
            self.meter.presumed_nano -= self.nano


@dataclass(slots=True)
class RunMeter:
    """Counts of one run.

    Attributes:
        ceiling_nano: what the run may cost at most, or None.
        settled_nano: charged for answered calls.
        presumed_nano: estimates of calls whose outcome is unknown, or that are on their way.
        searches: calls dispatched, answered or not.
        skus: units the provider says it delivered.
        sources: what was read, by URL.
        refused: questions not looked up because of the ceiling.
    """

    ceiling_nano: int | None = None
    settled_nano: int = 0
    presumed_nano: int = 0
    searches: int = 0
    skus: Counter[str] = field(default_factory=Counter)
    sources: dict[str, Source] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def cost_nano(self) -> int:
        """What the run has cost so far, calls of unknown outcome included."""
        return self.settled_nano + self.presumed_nano

    def fits(self, nano: int) -> bool:
        """Whether a call of at most *nano* may leave."""
        return self.ceiling_nano is None or self.cost_nano + nano <= self.ceiling_nano

    def dispatch(self, nano: int) -> Dispatched:
        """Count a call that is about to leave; there must be no `await` between `fits` and this."""
        self.searches += 1
        self.presumed_nano += nano
        return Dispatched(self, nano)

    def cite(self, url: str, title: str, excerpt: str) -> Source:
        """The source *url* under its number; a new one gets the next.

        One that is read again keeps its number, and its excerpt grows by the lines it did not have: whatever cites it
        has to stand there.
        """
        known = self.sources.get(url)
        if known is None:
            known = self.sources[url] = Source(len(self.sources) + 1, url, title, excerpt)
        elif new := [line for line in excerpt.split("\n") if line.strip() and line not in known.excerpt]:
            known = self.sources[url] = replace(known, excerpt="\n".join([known.excerpt, *new]))
        return known

    @property
    def cost_usd(self) -> str:
        """`cost_nano` as a decimal string."""
        return format_usd(self.cost_nano)
