"""Counts of several processes in one directory, so that any of them can show the sum.

Each process writes its counts into a file of its own, replacing it whole. Who reads adds up the files of the living,
and first folds the counts of the dead into an archive, so that no counter ever goes backwards. A process that is
killed without notice loses what it counted since its last write.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prodkit.metrics.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["SharedDirectory"]

_NAME: Final = re.compile(r"(?P<pid>\d+)-(?P<start>[0-9a-z]+)-\d+\.json")
_ARCHIVE: Final = "archive.json"

# Two applications in one process have a file each.
_instances: Final = count()


class SharedDirectory:
    """One directory for all workers of an application on one machine.

    Args:
        path: made when absent, readable by its owner only. Must be on a local file system.
        buckets: counts with other buckets are not added, but left out.
        max_series: see `Totals.add`.
        failed: told what could not be read.

    Raises:
        OSError: the directory cannot be made, or this system has no file locks.
    """

    def __init__(
        self,
        path: Path,
        buckets: Sequence[float],
        max_series: int,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        try:
            import fcntl  # noqa: PLC0415 - not there on Windows
        except ImportError as error:
            message = "sharing metrics in a directory needs file locks that this system does not have"
            raise OSError(message) from error
        self._flock: Callable[[int, int], None] = fcntl.flock
        self._exclusive: int = fcntl.LOCK_EX
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._buckets = tuple(buckets)
        self._max_series = max_series
        self._failed = failed
        self._instance = next(_instances)
        self._own: tuple[int, str] | None = None
        self._written = ""

    def write(self, totals: Totals) -> None:
        """Replace this process's file by *totals*, unless nothing changed since the last time.

        Raises:
            OSError: it cannot be written.
        """
        text = json.dumps(totals.to_json(), separators=(",", ":"))
        target = self._path / self._name()
        if text != self._written or not target.exists():
            _replace(target, text)
            self._written = text

    def others(self) -> Totals:
        """The counts of all other processes, dead ones included, and the gauges of the living.

        Raises:
            OSError: the directory cannot be read or written.
        """
        own = self._name()
        with self._locked():
            sum_of_all, folded = self._archive()
            living: list[Totals] = []
            dead: list[str] = []
            for name in sorted(path.name for path in self._path.iterdir()):
                match = _NAME.fullmatch(name)
                if match is None or name == own:
                    continue
                alive = _start_of(int(match["pid"])) == match["start"]
                if not alive:
                    dead.append(name)
                    if name in folded:  # the process that folded it ended before it could remove it
                        continue
                found = self._read(name)
                if found is not None:
                    if alive:
                        living.append(found)
                    else:
                        sum_of_all.add(found, max_series=self._max_series, only_counters=True)
            self._bury(sum_of_all, folded, dead)
        for found in living:
            sum_of_all.add(found, max_series=self._max_series)
        return sum_of_all

    def _bury(self, archive: Totals, folded: set[str], dead: list[str]) -> None:
        """Write the archive before removing what is in it, and name that there: a crash in between counts once."""
        if set(dead) - folded:
            document = {**archive.to_json(), "gauges": [], "folded": dead}
            _replace(self._path / _ARCHIVE, json.dumps(document, separators=(",", ":")))
        for name in dead:
            (self._path / name).unlink(missing_ok=True)

    def _archive(self) -> tuple[Totals, set[str]]:
        empty = Totals(self._buckets)
        try:
            document = json.loads((self._path / _ARCHIVE).read_text(encoding="utf-8"))
            found = Totals.from_json(document, self._buckets)
            return found or empty, set(document["folded"])
        except FileNotFoundError:
            return empty, set()
        except (ValueError, TypeError, KeyError) as error:
            self._failed("metrics directory", error)
            return empty, set()

    def _read(self, name: str) -> Totals | None:
        try:
            document: dict[str, Any] = json.loads((self._path / name).read_text(encoding="utf-8"))
            return Totals.from_json(document, self._buckets)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            self._failed("metrics directory", error)
            return None

    def _name(self) -> str:
        pid = os.getpid()
        if self._own is None or self._own[0] != pid:  # the first time, or the first time after a fork
            self._own = (pid, _start_of(pid) or secrets.token_hex(8))
            self._written = ""
        return f"{pid}-{self._own[1]}-{self._instance}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._path / "lock").open("a", encoding="utf-8") as file:
            self._flock(file.fileno(), self._exclusive)  # given back when the file is closed
            yield


def _replace(target: Path, text: str) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _start_of(pid: int) -> str | None:
    """What tells process *pid* from another one that had or will have its number; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return _start_without_proc(pid)
    except ProcessLookupError:
        return None
    # After the name in parentheses, which may hold anything: state is field 3, the start time field 22 (proc(5)).
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return f"{_boot()}{int(fields[19]):x}"


def _boot() -> str:
    """This run of the machine, since start times begin anew with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").replace("-", "")[:12]
    except OSError:
        return ""


def _start_without_proc(pid: int) -> str | None:
    """Where there is no /proc a number that is used again cannot be told from its first owner."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "unknown"
    return "unknown"
