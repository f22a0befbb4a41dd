"""Function calls of one request, exactly: the `call` and `c_call` events of `sys.setprofile`."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from benchmarks.driver import Driver

__all__ = [
    "Call",
    "beyond",
    "bytecodes_of",
    "calls_of",
    "count_calls",
    "garbage_of",
    "render",
    "render_bytecodes",
]

WARM_UP = 30


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what was called, and the file and line it was called from."""

    callee: str
    caller: str
    line: int


async def count_calls(driver: Driver, requests: int = 21) -> list[int]:
    """How many calls each of *requests* requests makes, in ascending order, after a warm-up.

    In the steady state they are all equal but for the few that renew something kept, such as the second of a time stamp.
    """
    await driver.requests(WARM_UP)
    counts = []
    for _ in range(requests):
        count = 0

        def profile(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal count
            if event in ("call", "c_call"):
                count += 1

        sys.setprofile(profile)
        try:
            await driver.request()
        finally:
            sys.setprofile(None)
        counts.append(count)
    return sorted(counts)


async def calls_of(driver: Driver) -> list[Call]:
    """The calls of one request in their order, after a warm-up."""
    await driver.requests(WARM_UP)
    calls: list[Call] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:  # Any: as sys.setprofile says
        if event == "call":
            caller = frame.f_back
            name = f"{_file(frame.f_code.co_filename)}:{frame.f_code.co_qualname}"
        elif event == "c_call":
            caller = frame
            name = getattr(argument, "__qualname__", None) or repr(argument)
            module = getattr(argument, "__module__", None)
            name = f"{module}.{name}" if module and module != "builtins" else name
        else:
            return
        if caller is not None:
            calls.append(Call(name, _file(caller.f_code.co_filename), caller.f_lineno))

    sys.setprofile(profile)
    try:
        await driver.request()
    finally:
        sys.setprofile(None)
    return calls


def beyond(ours: list[Call], bare: list[Call]) -> list[Call]:
    """What is in *ours* and not in *bare*, in order; as many calls as *ours* has more.

    A framework function that is now reached from another place is not an additional call: what has no equal in callee
    and place is compared by callee alone.
    """
    known = Counter(bare)
    more = []
    for call in ours:
        if known[call]:
            known[call] -= 1
        else:
            more.append(call)
    moved = Counter(call.callee for call in known.elements())
    additional = []
    for call in more:
        if moved[call.callee]:
            moved[call.callee] -= 1
        else:
            additional.append(call)
    return additional


def render(calls: list[Call]) -> str:
    """One line a call, in order, and how many each file makes."""
    lines = [
        f"{number:4}  {call.callee:<72} from {call.caller}:{call.line}"
        for number, call in enumerate(calls, 1)
    ]
    lines.append("")
    lines.extend(
        f"{count:4}  calls made by {file}" for file, count in Counter(c.caller for c in calls).most_common()
    )
    return "\n".join(lines)


async def bytecodes_of(driver: Driver) -> Counter[str]:
    """How many bytecodes each function executes in one request: where the time goes that is not in a call."""
    await driver.requests(WARM_UP)
    counts: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:  # Any: the type of itself
        frame.f_trace_opcodes = True
        if event == "opcode":
            counts[f"{_file(frame.f_code.co_filename)}:{frame.f_code.co_qualname}"] += 1
        return trace

    sys.settrace(trace)
    try:
        await driver.request()
    finally:
        sys.settrace(None)
    return counts


def render_bytecodes(ours: Counter[str], bare: Counter[str]) -> str:
    """The bytecodes of *ours* beyond *bare* by function, the most first."""
    more = ours - bare
    lines = [f"{count:6}  bytecodes of {name}" for name, count in more.most_common()]
    return "\n".join([*lines, f"{more.total():6}  bytecodes in all"])


async def garbage_of(driver: Driver, requests: int = 100) -> int:
    """How many objects only the garbage collector can free after *requests* requests."""
    await driver.requests(WARM_UP)
    gc.collect()
    gc.disable()
    try:
        await driver.requests(requests)
        return gc.collect()
    finally:
        gc.enable()


def _file(path: str) -> str:
    """The last parts of *path* that say which file it is; `<frozen ...>` names stay."""
    return "/".join(Path(path).parts[-3:])
