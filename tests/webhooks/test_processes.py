"""Alerts over webhooks by whole applications: several processes, one file, a real receiver, and a process that is killed."""

from __future__ import annotations

import signal
import time

import pytest

from tests.stores.processes import finish, script
from tests.support.receiver import SECRET, Reply, receiving

pytestmark = pytest.mark.process

APPLICATION = """
import contextlib, logging
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prodkit import CurrentContext
from prodkit.budgets import Budgets, Policy
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.metering import Meter, Metering
from prodkit.stores.sqlite_ledger import SqliteLedger
from prodkit.webhooks import WebhookEndpoint, Webhooks
from tests.support.receiver import SECRET

path, url, ahead_seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])

class Ahead:
    monotonic, monotonic_ns = SYSTEM_CLOCK.monotonic, SYSTEM_CLOCK.monotonic_ns
    wall = staticmethod(lambda: SYSTEM_CLOCK.wall() + ahead_seconds)

class Lines(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "budget_threshold":
            lines.append(record.percent)
        if record.getMessage() == "webhook_failed":
            failures.append(record.outcome)

lines, failures = [], []
logging.getLogger("prodkit").addHandler(Lines())
app = FastAPI()

@app.post("/buy")
async def buy(context: CurrentContext) -> None:
    meter = context.kit.one(Meter)
    async with await meter.open(
        f"run_{context.correlation_id}", amount_nano=25, attributes={"tenant": "acme"}, context=context
    ) as run:
        call = await run.call(25)
        await call.settle(25)

install(
    app,
    Budgets(policies=[Policy("team", "tenant", "total", "0.000001")]),
    Correlation(),
    Metering(store=f"sqlite:///{path}", reap_interval_seconds=0.1),
    Webhooks([WebhookEndpoint(url=url, secrets=[SECRET])]),
    clock=Ahead(),
)
"""

SERVES = """
    with TestClient(app) as client:
        print("ready", flush=True)
        for words in iter(sys.stdin.readline, "end\\n"):
            if words == "fail\\n":
                while not failures:
                    time.sleep(0.01)
                print(failures.pop(), flush=True)
                continue
            for _ in range(int(words)):
                assert client.post("/buy").status_code == 200
    print(*lines)
"""


def serving(path, receiver, ahead_seconds=0.0, source=SERVES):
    process = script(source, path, receiver.url, ahead_seconds, imports=APPLICATION)
    assert process.stdout.readline() == "ready\n"
    return process


def tell(process, words):
    process.stdin.write(f"{words}\n")
    process.stdin.flush()


def test_two_processes_tell_each_part_once(tmp_path):
    """Both spend from one budget at the same time, up to its end: each part is delivered once and logged once."""
    with receiving() as receiver:
        processes = [serving(tmp_path / "app.db", receiver) for _ in range(2)]
        for process in processes:
            tell(process, 20)
        receiver.wait_for(lambda: len(receiver.got) >= 4)
        time.sleep(0.5)  # a double would come within a round or two
        for process in processes:
            tell(process, "end")
        logged = [int(part) for process in processes for part in finish(process)]
    assert sorted(got.document["data"]["percent"] for got in receiver.got) == [50, 80, 95, 100]
    assert len({got.id for got in receiver.got}) == 4
    assert all(got.is_signed_with(SECRET) for got in receiver.got)
    assert sorted(logged) == [50, 80, 95, 100]


def test_one_that_is_killed_before_it_could_say_so(tmp_path):
    """SIGKILL between a delivery and the note of it: another process delivers it again with the same id and body, once the
    lease is over and not before; the log has its line once.
    """
    stuck = """
    async def never(self, sequence, **options):
        print("delivered", *lines, flush=True)
        await asyncio.sleep(3600)
    SqliteLedger.finish_alert = never
    """
    with receiving() as receiver:
        process = serving(tmp_path / "app.db", receiver, source=stuck + SERVES)
        tell(process, 20)
        assert process.stdout.readline() == "delivered 50\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=10) == -signal.SIGKILL
        process.communicate()
        early = serving(tmp_path / "app.db", receiver)
        time.sleep(0.5)
        tell(early, "end")
        assert (finish(early), len(receiver.got)) == ([], 1)
        late = serving(tmp_path / "app.db", receiver, 61)
        receiver.wait_for(lambda: len(receiver.got) >= 2)
        tell(late, "end")
        assert finish(late) == []
    first, second = receiver.got
    assert (first.id, first.body) == (second.id, second.body)


def test_after_a_failure_it_comes_again_on_schedule(tmp_path):
    """A 500, then nobody who listens, then an answer: the third attempt is the last, with the same id."""
    with receiving(Reply(500)) as receiver:
        path = tmp_path / "app.db"
        first = serving(path, receiver)
        tell(first, 20)
        tell(first, "fail")
        assert first.stdout.readline() == "refused\n"
        tell(first, "end")
        assert finish(first) == ["50"]
        with receiving() as gone:
            pass
        away = serving(path, gone, 7)
        tell(away, "fail")
        assert away.stdout.readline() == "unreachable\n"
        tell(away, "end")
        assert finish(away) == []
        soon = serving(path, receiver, 200)
        time.sleep(0.5)  # a few rounds
        tell(soon, "end")
        finish(soon)
        assert len(receiver.got) == 1, "five minutes are not over"
        later = serving(path, receiver, 7 + 400)
        receiver.wait_for(lambda: len(receiver.got) == 2)
        tell(later, "end")
        finish(later)
    assert len({got.id for got in receiver.got}) == 1


def test_a_slow_receiver_holds_no_request_and_no_stop(tmp_path):
    """While a webhook is under way, requests are answered as ever; and the process stops within seconds."""
    with receiving(Reply(seconds=30)) as receiver:
        process = serving(tmp_path / "app.db", receiver)
        tell(process, 20)
        receiver.wait_for(lambda: len(receiver.got) == 1)
        began = time.monotonic()
        tell(process, 10)
        tell(process, "end")
        assert finish(process) == ["50"]
        assert time.monotonic() - began < 20
