"""What all answers of one application share: the rules, the encoders there are, how many are at work, and the counts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from prodkit.compression.encoders import EFFORTS, Encoder, PaddedGzip, factories
from prodkit.compression.negotiation import Negotiator
from prodkit.core.features import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prodkit.compression.policy import Answered, Asked, Policy

__all__ = ["Gate", "Verdict"]


class Verdict(NamedTuple):
    """What happens to one answer.

    Attributes:
        encoding: the content coding, or None for the body as it is.
        make: makes its encoder.
        depends_on_client: whether another Accept-Encoding could have had another answer.
    """

    encoding: str | None = None
    make: Callable[[], Encoder] | None = None
    depends_on_client: bool = False


_AS_IT_IS = Verdict()
_AS_IT_IS_FOR_THIS_CLIENT = Verdict(depends_on_client=True)


class Gate:
    """Decides, counts, and makes encoders.

    Args:
        policy: which answers may be compressed.
        encodings: content codings, the preferred one first.
        effort: a key of `EFFORTS`.
        padding_bytes: the most that is added to answers for requests with credentials of a browser; 0 for nothing.
        min_body_bytes: smaller bodies stay as they are.
        flush_seconds: how long bytes of a stream may be kept back.
        max_active: how many encoders may be at work at once.

    Attributes:
        active: how many are.

    Raises:
        MissingExtraError: the library of an encoding is not installed.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        encodings: Sequence[str],
        effort: str,
        padding_bytes: int,
        min_body_bytes: int,
        flush_seconds: float,
        max_active: int,
    ) -> None:
        self._policy = policy
        self._negotiator = Negotiator(encodings)
        self._factories = factories(encodings, effort)
        self._padded_negotiator = Negotiator(("gzip",)) if padding_bytes else None
        self._padded = partial(PaddedGzip, EFFORTS[effort]["gzip"], padding_bytes)
        self.min_body_bytes = min_body_bytes
        self.flush_seconds = flush_seconds
        self.max_active = max_active
        self.active = 0
        self._decisions: dict[tuple[str, str], int] = {}
        self._bytes: dict[tuple[str, str], int] = {}

    def judge(self, asked: Asked, answered: Answered, accept_encoding: bytes) -> Verdict:
        """What happens to this answer; one that stays as it is is counted here."""
        policy = self._policy
        rule = policy.unfit(answered)
        if rule is None and asked.choice is False:
            rule = "route"
        if rule is not None:
            self.count(rule, "bypassed")
            return _AS_IT_IS
        rule = policy.secret(asked, answered)
        if rule is not None:
            self.count(rule, "denied")
            return _AS_IT_IS_FOR_THIS_CLIENT
        if self._padded_negotiator is not None and policy.is_ambient(asked):
            negotiator, make = self._padded_negotiator, self._padded
        else:
            negotiator, make = self._negotiator, None
        encoding = negotiator.choose(accept_encoding) if accept_encoding else None
        if encoding is None:
            self.count("accept_encoding", "bypassed")
            return _AS_IT_IS_FOR_THIS_CLIENT
        return Verdict(encoding, make or self._factories[encoding], depends_on_client=True)

    def count(self, rule: str, outcome: str) -> None:
        """One more answer decided by *rule*; for a compressed one that is its content coding."""
        self._decisions[rule, outcome] = self._decisions.get((rule, outcome), 0) + 1

    def measure(self, encoding: str, before: int, after: int) -> None:
        """*before* bytes of the application became *after* bytes."""
        sizes = self._bytes
        sizes[encoding, "before"] = sizes.get((encoding, "before"), 0) + before
        sizes[encoding, "after"] = sizes.get((encoding, "after"), 0) + after

    def samples(self) -> Iterable[Sample]:
        """Answers by rule and outcome, bytes by coding, and encoders at work."""
        for (rule, outcome), count in list(self._decisions.items()):
            yield Sample(
                "prodkit_compression_decisions_total",
                {"policy": rule, "outcome": outcome},
                count,
                "counter",
                "Answers by what decided about compressing them.",
            )
        for (encoding, side), size in list(self._bytes.items()):
            yield Sample(
                "prodkit_compression_body_bytes_total",
                {"encoding": encoding, "side": side},
                size,
                "counter",
                "Bytes of compressed answers, before and after.",
            )
        yield Sample(
            "prodkit_compression_active",
            {},
            self.active,
            "gauge",
            "Compressors at work.",
        )
