"""The shapes of `usage` that servers send: no token in two lines, and none in no line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.metering.clients.usage import bytes_of_text, is_over, use_of


@pytest.mark.parametrize(
    ("usage", "tokens", "sure"),
    [
        # OpenAI: parts of the whole.
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 40,
                "total_tokens": 140,
                "prompt_tokens_details": {"cached_tokens": 60},
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            (100, 60, 0, 40, 30),
            True,
        ),
        # OpenRouter: writes to the cache as well.
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 20},
            },
            (100, 10, 20, 4, 0),
            True,
        ),
        # DeepSeek.
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}, (9, 8, 0, 1, 0), True),
        # xAI: reasoning beside the output, as only the total tells.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 40,
                "total_tokens": 80,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            (10, 0, 0, 70, 30),
            True,
        ),
        # Anthropic's own names: cached beside the input.
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 2,
            },
            (16, 4, 2, 5, 0),
            True,
        ),
        # The same under OpenAI's names, as only the total tells.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 19,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            (14, 4, 0, 5, 0),
            True,
        ),
        # A part that cannot be one, and no total.
        (
            {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 50}},
            (55, 50, 0, 5, 0),
            False,
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 50},
            },
            (5, 0, 0, 55, 50),
            False,
        ),
        # Embeddings.
        ({"prompt_tokens": 7, "total_tokens": 7}, (7, 0, 0, 0, 0), True),
        # Nothing is something.
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, 0, 0, 0, 0), True),
        ({"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": None}, (5, 0, 0, 1, 0), True),
    ],
)
def test_shapes_of_usage(usage: Any, tokens: Any, sure: bool) -> None:
    """Cached and written tokens become parts of the input, reasoning a part of the output, whoever says it how."""
    found = use_of(usage)
    assert found is not None
    use, is_sure = found
    assert (
        use.input_tokens,
        use.cached_input_tokens,
        use.cache_write_tokens,
        use.output_tokens,
        use.reasoning_tokens,
    ) == tokens
    assert is_sure is sure


@pytest.mark.parametrize(
    "usage",
    [
        None,
        7,
        {},
        [],
        {"prompt_tokens": 1},
        {"prompt_tokens": 1, "total_tokens": 9},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 10**12, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": None},
    ],
)
def test_what_says_nothing_is_nothing(usage: Any) -> None:
    """It is no usage of 0: what was held or seen is charged then."""
    assert use_of(usage) is None


COUNT = st.integers(0, 10_000)
DETAILS = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "cache_creation_tokens"]),
    st.one_of(COUNT, st.none(), st.text(max_size=2)),
)


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT},
        optional={
            "total_tokens": COUNT,
            "prompt_tokens_details": DETAILS,
            "completion_tokens_details": DETAILS,
            "cache_read_input_tokens": COUNT,
            "cache_creation_input_tokens": COUNT,
        },
    )
)
def test_never_less_than_was_said(usage: Any) -> None:
    """Whatever a server says, parts fit into their wholes, and the wholes are at least what it said."""
    found = use_of(usage)
    assert found is not None
    assert found[0].input_tokens >= usage["prompt_tokens"]
    assert found[0].output_tokens >= usage["completion_tokens"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "delta", "usage", "type", "content", "output"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "type", "delta", "output"]), JSON))
def test_any_document_can_be_read(document: Any) -> None:
    """It is somebody else's: nothing in it raises."""
    assert bytes_of_text(document) >= 0
    assert is_over(document) in {True, False}


def test_deep_nesting_is_read() -> None:
    """As deep as a decoder lets it be, without a recursion of ours."""
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    assert bytes_of_text({"choices": [{"delta": {"content": deep}}]}) == 1
    while isinstance(deep, list):  # or taking it apart would recurse
        deep = deep.pop()
