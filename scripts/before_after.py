"""Print what the README shows first: three answers of a bare FastAPI application, and of the same one hardened.

`python scripts/before_after.py --write` puts them into README.md between their markers. A test runs the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from prodkit import harden
from prodkit.logs import Logs

README = Path(__file__).parent.parent / "README.md"
# Made anew for each request; shown as one value, so that the text is the same every time.
EXAMPLE_ID = "4d1f5b6e0c9a4b7f8e2d3a6c5b4f1e0d"
REQUESTS = ("/items/7", "/items/hunter2", "/boom")


def make_app() -> FastAPI:
    """The application of the example."""
    app = FastAPI()

    @app.get("/items/{item}")
    async def read(item: int) -> dict[str, int]:
        return {"item": item}

    @app.get("/boom")
    async def boom() -> None:
        message = "cannot connect to postgresql://app:s3cret@db/shop"
        raise RuntimeError(message)

    return app


async def ask(app: FastAPI, path: str) -> str:
    """What a client sees, as text."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"shop.example")],
        "client": ("203.0.113.7", 50000),
        "server": ("10.0.0.2", 8000),
        "state": {},
    }
    with contextlib.suppress(
        RuntimeError
    ):  # a 500 is raised again after it was answered, as the server expects
        await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    del headers["content-length"]
    lines = [f"GET {path} -> {sent[0]['status']}", f"content-type: {headers.pop('content-type')}"]
    if "x-request-id" not in headers or path == REQUESTS[0]:
        lines.extend(f"{name}: {value}" for name, value in headers.items())
    else:
        lines.append(f"({len(headers)} more headers, the same as above but for cache-control: no-store)")
    body = sent[1]["body"].decode()
    if "json" in lines[1]:
        body = json.dumps(json.loads(body), indent=2)
    return "\n".join([*lines, "", body, ""])


def transcript(*, hardened: bool) -> tuple[str, str]:
    """Three requests with their answers, and what was logged on standard output."""
    app, log = make_app(), io.StringIO()

    async def run() -> list[str]:
        return [await ask(app, path) for path in REQUESTS]

    # Without a lifespan the traceback of the 500 goes to standard error; it is not part of the example.
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(io.StringIO()):
        if hardened:
            harden(app, Logs(format="json"))
        text = "\n".join(asyncio.run(run())).rstrip()
    return settled(text), settled(log.getvalue().rstrip())


def settled(text: str) -> str:
    """*text* with what differs from run to run replaced: ids, times, what remains of a limit."""
    text = re.sub(r"\b[0-9a-f]{32}\b", EXAMPLE_ID, text)
    text = re.sub(r'"timestamp":"[^"]+"', '"timestamp":"2026-11-22T10:00:00.000Z"', text)
    text = re.sub(r"_ms\":[0-9.]+", '_ms":0.5', text)
    return re.sub(r"r=\d+;t=\d+", "r=1199;t=1", text)


def blocks() -> dict[str, str]:
    """Marker to text."""
    after, log = transcript(hardened=True)
    line = next(line for line in log.splitlines() if '"status":422' in line)
    return {"before": transcript(hardened=False)[0], "after": after, "log": line}


def main() -> int:
    """Print, or write."""
    text = README.read_text(encoding="utf-8")
    for name, block in blocks().items():
        if "--write" in sys.argv:
            pattern = rf"(<!-- {name} -->\n```[a-z]+\n).*?(\n?```\n<!-- end -->)"
            found = re.search(pattern, text, flags=re.DOTALL)
            if found is None:
                print(f"README.md has no place for {name}", file=sys.stderr)
                return 1
            text = text.replace(found[0], f"{found[1]}{block}\n```\n<!-- end -->")
        else:
            print(f"---- {name}\n{block}\n")
    README.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
