"""One connection of redis-py to one server: opened, introduced, asked one thing at a time, and given up at the first failure.

What cannot be known after a cancelled or failed call is which answers are still to come, so such a connection is closed and
nobody gets an answer that was somebody else's. Answers come as bytes, without the conversions of redis-py's clients; where
hiredis is installed, redis-py reads with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_library import (
    NoBackoff,
    RedisConnectionError,
    RedisError,
    ResponseError,
    Retry,
    SSLConnection,
    TCPConnection,
    UnixDomainSocketConnection,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.connection import AbstractConnection

__all__ = ["TLS", "Address", "Command", "Connection", "Credentials", "Reply", "code_of", "connect", "name_of"]

Address: TypeAlias = tuple[str, int]
"""Host and port; a path and 0 for a socket of this machine."""

Command: TypeAlias = "Sequence[str | bytes | int]"

Reply: TypeAlias = Any  # recursive, which a script's caller knows better than a type could say
"""What a server answers: int, bytes, None, an error of the server (not raised), or a list of these."""

_SET_NAME: Final = ("CLIENT", "SETNAME", "prodkit")
# How Redis before 7 tells what a script has met: `Error running script (...): @user_script: 1: -OOM command not allowed`.
_WRAPPED: Final = re.compile(r"(?:ERR )?Error running script.*: -(\S+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TLS:
    """How a server proves who it is, and we to it. Paths of files in PEM.

    Attributes:
        ca_certs: of the authorities; None for those of the system.
        certfile, keyfile: who we are, or None.
        is_verified: False believes anybody, for development only.
    """

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    is_verified: bool = True


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a connection introduces itself.

    Attributes:
        username: empty for the default user.
        password: empty for none.
        db: which of the numbered databases.
        tls: None for plain text.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    db: int = 0
    tls: TLS | None = None


def name_of(address: Address) -> str:
    """*address* as one text."""
    return f"{address[0]}:{address[1]}" if address[1] else address[0]


def code_of(error: RedisError) -> str:
    """The first word of what the server said, which tells what kind of error it is; of what a script met, of that."""
    known = getattr(error, "status_code", None)
    if isinstance(known, str) and known != "ERR":
        return known
    text = str(error)
    wrapped = _WRAPPED.match(text)
    return wrapped[1] if wrapped else known or text.partition(" ")[0]


class Connection:
    """Made by `connect`. One caller at a time.

    Attributes:
        is_closed: whether nothing can be asked any more.
        generation: for whoever keeps it.
        why: what a caller is told whose answer will not come.
    """

    __slots__ = ("_below", "_is_new", "_name", "generation", "is_closed", "why")

    def __init__(self, below: AbstractConnection, name: str) -> None:
        """Take over what is open."""
        self.is_closed = False
        self.generation = 0
        self.why = "the connection was closed"
        self._below = below
        self._is_new = True
        self._name = name

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Send *commands* together and return their answers in order, errors of the server among them.

        Raises:
            StoreUnavailableError: the connection is closed, or broke; what was sent may have been carried out.
        """
        below = self._below
        answers: list[Reply] = []
        if self._is_new:
            # Operators see in CLIENT LIST who we are, where no access list forbids it. Sent along, not awaited first: a server
            # that loads its data was seen to answer to this only when it had done so.
            self._is_new = False
            return (await self.ask([_SET_NAME, *commands]))[1:]
        try:
            if not await self.is_silent():
                raise RedisConnectionError  # noqa: TRY301  told like one that breaks later
            packed = below.pack_command(*commands[0]) if len(commands) == 1 else below.pack_commands(commands)
            await below.send_packed_command(packed, check_health=False)
            for _ in commands:
                try:
                    answers.append(await below.read_response(disable_decoding=True))
                except ResponseError as error:
                    answers.append(error)
        except RedisConnectionError as error:
            await self.close()
            if code_of(error) not in {"LOADING", "NOAUTH", "WRONGPASS"}:
                raise self._lost() from error
            # An answer all the same, behind which redis-py closes; to all that was asked.
            answers += [error] * (len(commands) - len(answers))
        except (RedisError, OSError, ValueError) as error:  # the last: it does not speak the protocol
            await self.close()
            raise self._lost() from error
        except BaseException:
            await self.close()
            raise
        return answers

    async def is_silent(self) -> bool:
        """Whether it can be asked: what nobody has asked for would be taken for the answer. Closes it if not."""
        if not self.is_closed and (not self._below.is_connected or await self._below.can_read()):
            await self.close()
        return not self.is_closed

    async def close(self, why: str = "") -> None:
        """Close, without waiting for the other side; who is being answered gets an error."""
        if not self.is_closed:
            self.is_closed = True
            self.why = why or self.why
            await self._below.disconnect(nowait=True)

    def _lost(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self._name}: {self.why}")


async def connect(address: Address, credentials: Credentials, *, master: bool = False) -> Connection:
    """Open a connection, and introduce ourselves. The caller bounds the time.

    Args:
        address: where.
        credentials: who.
        master: refuse a server that says it is a replica.

    Raises:
        StoreUnavailableError: nobody listens there, TLS failed, or it does not want us; the text has no secret.
    """
    name = name_of(address)
    below = _made(address, credentials)
    try:
        await below.connect()  # type: ignore[no-untyped-call]  # theirs
    except (RedisError, OSError) as error:
        await below.disconnect(nowait=True)
        raise _refused(name, error) from error
    except BaseException:
        await below.disconnect(nowait=True)
        raise
    connection = Connection(below, name)
    if master:
        (role,) = await connection.ask([("ROLE",)])
        if isinstance(role, list) and role[:1] != [b"master"]:
            await connection.close()
            message = f"{name} is a replica"
            raise StoreUnavailableError(message)
        if connection.is_closed:
            raise _refused(name, role)
    return connection


def _made(address: Address, credentials: Credentials) -> AbstractConnection:
    # No time-outs and no second tries of its own, since whoever asks bounds the whole call; and nothing is said about the
    # library, which would be one more round trip.
    options: dict[str, Any] = {
        "username": credentials.username or None,
        "password": credentials.password or None,
        "db": credentials.db,
        "protocol": 2,
        "driver_info": None,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
    }
    host, port = address
    if not port:
        return UnixDomainSocketConnection(path=host, **options)
    options |= {"host": host, "port": port, "socket_keepalive": True}
    tls = credentials.tls
    if tls is None:
        return TCPConnection(**options)
    return SSLConnection(
        **options,
        ssl_ca_certs=tls.ca_certs,
        ssl_certfile=tls.certfile,
        ssl_keyfile=tls.keyfile,
        ssl_cert_reqs="required" if tls.is_verified else "none",
        ssl_check_hostname=tls.is_verified,
    )


def _refused(name: str, error: RedisError | OSError) -> StoreUnavailableError:
    if isinstance(error, RedisError) and error.status_code is not None:
        # Only the kind: what a server says about a password that it does not like is its own affair.
        code = code_of(error)
        if code == "LOADING":
            return StoreUnavailableError(f"{name} answered {code}")
        text = f"{name} does not let us in ({code}): check user, password and database in the URL"
        return StoreUnavailableError(text)
    cause = error.__cause__ or error.__context__ or error
    reason = getattr(cause, "strerror", None) or type(cause).__name__
    return StoreUnavailableError(f"{name} cannot be reached: {reason}")
