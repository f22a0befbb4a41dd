"""What the page reads digit by digit and line by line: events, money, headers."""

import json

import pytest
from playwright.async_api import expect

from tests.examples.page.conftest import Reader
from tests.examples.page.fake_api import FakeApi, completed, started

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_framing_does_not_matter(reader: Reader, api: FakeApi) -> None:
    """Line ends of all three kinds, comments, unknown events and fields, several data lines, bytes one by one."""
    text = "gr\u00fc\u00dfe \U0001f44b"
    whole = b"".join(
        [
            b"\xef\xbb\xbf: hello\n\nretry: 10\n",
            started().replace(b"\n", b"\r\n"),
            b"event: unheard.of\ndata: {}\nid: run_1:2\n\n",
            b'event:token\rdata:{"text":\rdata: '
            + json.dumps(text, ensure_ascii=False).encode()
            + b"}\rid: run_1:3\r\r",
            b"event: token\nid: run_1:4\n\n",
            completed(5, f"{text} done"),
        ]
    )
    api.scripts = [[whole[at : at + 1] for at in range(len(whole))]]
    await reader.enter()
    await reader.ask("What?")
    await reader.finished()
    await expect(reader.page.locator(".answer")).to_have_text(f"{text} done")


async def test_events_are_the_same_wherever_the_text_is_cut(reader: Reader) -> None:
    """Every way to cut a stream in two or three gives the same events."""
    stream = "event: a\r\ndata: 1\r\ndata: 2\r\nid: r:1\r\n\r\n:c\r\rdata\n\ndata: 3\r\r\nid: x\x00\nevent: b\rdata:  4\n\n"
    found = await reader.page.evaluate(
        """async (stream) => {
          const { EventParser } = await import("/page/stream.js");
          const read = (...pieces) => {
            const parser = new EventParser();
            return JSON.stringify(pieces.flatMap((piece) => parser.push(piece)));
          };
          const seen = new Set();
          for (let a = 0; a <= stream.length; a += 1) {
            for (let b = a; b <= stream.length; b += 1) {
              seen.add(read(stream.slice(0, a), stream.slice(a, b), stream.slice(b)));
            }
          }
          return [...seen];
        }""",
        stream,
    )
    assert [json.loads(one) for one in found] == [
        [
            {"name": "a", "id": "r:1", "data": "1\n2"},
            {"name": "message", "id": "r:1", "data": ""},
            {"name": "message", "id": "r:1", "data": "3"},
            {"name": "b", "id": "r:1", "data": " 4"},
        ]
    ]


async def test_money_is_exact(reader: Reader) -> None:
    """Amounts that floating-point numbers get wrong are added and shown digit by digit."""
    found = await reader.page.evaluate(
        """async () => {
          const { nano, shown, usd } = await import("/page/money.js");
          return {
            sum: usd(nano("0.1") + nano("0.2")),
            large: usd(nano("123456789012345.123456789")),
            shown: ["0", "5", "1.5", "0.000000001", "-0.25"].map(shown),
            none: ["", "1,5", "1e3", "0.0000000001", "NaN", 3, null, undefined, " "].map(nano),
            trimmed: shown(" 2.50 "),
          };
        }"""
    )
    assert found == {
        "sum": "0.3",
        "large": "123456789012345.123456789",
        "shown": ["$0.00", "$5.00", "$1.50", "$0.000000001", "\u2212$0.25"],
        "none": [None] * 9,
        "trimmed": "$2.50",
    }


async def test_limits_are_read_from_the_headers(reader: Reader) -> None:
    """Several policies, names with quotes in them, and nonsense."""
    cases = {
        '"default";r=99;t=60': [{"name": "default", "left": 99, "limit": 600, "seconds": 60}],
        '"a";r=1, "default";r=0': [
            {"name": "a", "left": 1, "limit": None, "seconds": None},
            {"name": "default", "left": 0, "limit": 600, "seconds": None},
        ],
        '"say \\"hi\\"";t=5;r=2;pk=:YQ==:': [{"name": 'say "hi"', "left": 2, "limit": None, "seconds": 5}],
        "default;r=1": [],
        '"x";t=5': [],
        "": [],
    }
    found = await reader.page.evaluate(
        """async (cases) => {
          const { rateLimits } = await import("/page/api.js");
          return cases.map((value) => rateLimits(new Headers({ RateLimit: value, "RateLimit-Policy": '"default";q=600;w=60' })));
        }""",
        list(cases),
    )
    assert found == list(cases.values())
