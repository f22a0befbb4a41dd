"""What a WebSocket receives may be judged message by message, before the application has it.

A feature adds a judge to the context of the handshake with `RequestContext.judge_messages`; a socket without one pays nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from prodkit.core.pipeline.watching import look_away

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prodkit.core.asgi import Message
    from prodkit.core.context import RequestContext
    from prodkit.core.pipeline.watching import Watch

__all__ = ["DROPPED", "Judging", "MessageJudge", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that the application does not get.

    Attributes:
        code: the socket is closed with it (RFC 6455, 7.4); 0 to go on with the next message.
        reason: at most 123 bytes, for the client.
    """

    code: int
    reason: str = ""


DROPPED: Final = Refusal(0)

MessageJudge: TypeAlias = "Callable[[RequestContext, Message], Refusal | Awaitable[Refusal | None] | None]"
"""Says of a `websocket.receive` what becomes of it: None lets it pass. While its answer is awaited nothing more is read."""


class Judging:
    """The message of one socket that is being judged.

    A caller that is cancelled meanwhile loses no message, and no message is judged twice: the next caller is given what was
    under way.
    """

    __slots__ = ("_context", "_task", "message")

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._task: asyncio.Task[Refusal | None] | None = None
        self.message: Message | None = None

    async def judge(
        self, message: Message, judges: Sequence[MessageJudge], watch: Watch | None
    ) -> Refusal | None:
        """What all of *judges* say together; the first that refuses decides.

        Ends early, and lets pass, when *watch* ends the socket: then nobody is given the message any more.
        """
        if self._task is None:
            for index, judge in enumerate(judges):
                said = judge(self._context, message)
                if said is None:
                    continue
                if isinstance(said, Refusal):
                    return said
                self.message = message
                self._task = asyncio.ensure_future(self._rest(said, judges[index + 1 :], message))
                break
            else:
                return None
        task = self._task
        if watch is None:
            await asyncio.wait([task])
        elif not await watch.outlives(task):
            return None
        if self._task is task:
            self._task = self.message = None
        return task.result()

    async def stop(self) -> None:
        """Let nothing run on."""
        task, self._task, self.message = self._task, None, None
        if task is not None and not task.done():
            task.cancel()
            task.add_done_callback(look_away)
            await asyncio.wait([task])

    async def _rest(
        self, said: Awaitable[Refusal | None], judges: Sequence[MessageJudge], message: Message
    ) -> Refusal | None:
        refusal = await said
        for judge in judges:
            if refusal is not None:
                return refusal
            answer = judge(self._context, message)
            refusal = answer if answer is None or isinstance(answer, Refusal) else await answer
        return refusal
