"""What holds for parts of an application's paths: the longest prefix decides, on the boundaries of segments.

Guards run before routing, and must judge the very path that will be routed. So what is compared is what Starlette's router
compares: the decoded path below `root_path`, in which an encoded slash is a slash for both. A path with a dot segment is left to
the caller: the router takes it as it is, browsers never send one, and whoever resolves it in between comes out elsewhere.

Two more spellings come out elsewhere, and browsers do send them. To whoever looks for a file, `StaticFiles` among them, several
slashes are one. And Starlette's expressions end with `$`, which also takes what stands before a line break at the end.

Source: RFC 3986, 3.3 (path) and 5.2.4 (dot segments); WHATWG URL Standard, path state; starlette.routing; posixpath.normpath;
Python's re (`$`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.core.asgi import Scope

__all__ = ["PathMap", "application_path", "has_dot_segment", "path_fault"]

T = TypeVar("T")

_DOT_SEGMENT: Final = re.compile(r"/\.{1,2}(?:/|\Z)")
_SLASHES: Final = re.compile(r"//+")
_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")


def application_path(scope: Scope) -> str:
    """The path of *scope* as its application routes it: decoded, and without the prefix it is served under."""
    path: str = scope["path"]
    root_path: str = scope["root_path"] if "root_path" in scope else ""  # noqa: SIM401 - get() is a call
    if root_path and path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest[0] == "/":
            return rest
    return path


def has_dot_segment(path: str) -> bool:
    """Whether somebody between us and the route might take *path* for another one."""
    return "/." in path and _DOT_SEGMENT.search(path) is not None


def path_fault(text: str) -> str | None:  # noqa: PLR0911 - one line for each fault
    """What is wrong with a configured prefix and what to do, or None.

    A prefix is literal segments and parameters such as `{id}`, which stand for one segment of any text.
    """
    if not text.startswith("/"):
        return "does not begin with a slash | Write the path as the routes have it, without root_path."
    if text.endswith("/"):
        return "ends with a slash | Leave it out: a prefix covers itself and everything below it."
    if any(character in text for character in "?#\\*") or any(ord(character) < 32 for character in text):
        return "is not a path | Write segments and slashes only: a prefix covers everything below it."
    if "%" in text:
        return "is percent-encoded | Write it decoded, as the routes have it."
    for segment in text[1:].split("/"):
        if segment in {"", ".", ".."}:
            return "has an empty or a dot segment, which no browser sends | Leave it out."
        if ("{" in segment or "}" in segment) and not _PARAMETER.fullmatch(segment):
            return "has something else than {name} in a segment | A parameter is a whole segment, and has no converter."
    return None


class _Node(Generic[T]):
    """What is known of one prefix."""

    __slots__ = ("below", "below_any", "values")

    def __init__(self) -> None:
        self.below: dict[str, _Node[T]] = {}
        self.below_any: _Node[T] | None = None
        self.values: list[T] = []  # one, or none: a value may be None itself


class PathMap(Generic[T]):
    """Values by prefix.

    Args:
        entries: prefixes without a `path_fault`; of two that differ in the names of their parameters only, the later one holds.
    """

    __slots__ = ("_depth", "_root")

    def __init__(self, entries: Mapping[str, T]) -> None:
        self._root: _Node[T] = _Node()
        self._depth = 0
        for text, value in entries.items():
            node = self._root
            segments = text[1:].split("/")
            for segment in segments:
                if segment.startswith("{"):
                    node.below_any = node.below_any or _Node()
                    node = node.below_any
                else:
                    node = node.below.setdefault(segment, _Node())
            node.values = [value]
            self._depth = max(self._depth, len(segments))

    def find(self, path: str, default: T) -> T:
        """The value of the longest prefix of *path*; of two equally long ones, the one that is literal for longer."""
        # Never deeper than the deepest entry, however many slashes a caller sends.
        segments = path.split("/", self._depth + 1)[1 : self._depth + 1]
        found = _deepest(self._root, segments, 0)
        return default if found is None else found[1]

    def find_surely(self, path: str, default: T, unsure: T) -> T:
        """As `find`; *unsure* where what answers *path* may take it for one with another value, see above."""
        taken = path
        if "//" in path or path.endswith("\n"):
            taken = _SLASHES.sub("/", path.removesuffix("\n"))
        if has_dot_segment(taken):
            return unsure
        found = self.find(path, default)
        return found if taken is path or self.find(taken, default) is found else unsure


def _deepest(node: _Node[T], segments: Sequence[str], depth: int) -> tuple[int, T] | None:
    best = (depth, node.values[0]) if node.values else None
    if depth == len(segments):
        return best
    segment = segments[depth]
    # A parameter is at least one character, as for the router.
    for child in (node.below.get(segment), node.below_any if segment else None):
        found = None if child is None else _deepest(child, segments, depth + 1)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    return best
