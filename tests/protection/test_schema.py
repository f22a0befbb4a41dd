"""schemathesis over applications as their OpenAPI documents describe them: no 5xx, and every error is a problem.

It runs in a process of its own, because it changes hypothesis wherever it is imported. `SCHEMA_SECONDS` in the environment
asks for a long run of so many seconds, with all of its phases over all operations.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Cookie, FastAPI, File, Form, Header, HTTPException, Query, UploadFile
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field

from examples.research_agents.settings import ResearchSettings
from prodkit import Problem, Settings, harden
from prodkit.authentication import public
from tests.protection.sending import KEY
from tests.support.local_server import local_server
from tests.support.research import KEYS, research_app
from tests.support.server import serving

SECONDS = int(os.environ.get("SCHEMA_SECONDS", "0"))
TOKEN = "token-of-the-local-server-in-tests"
HERE = Path(__file__).parent

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "ignored_auth",
    "ensure_resource_availability",
    # ours, of problem_checks.py
    "errors_are_problems",
    "documents_fit",
)
# Those of one agent stand for all five: they are made by one function.
OTHER_AGENTS = "/v1/agents/(analyst|critic|deep_research|writer)/"


def run(port: int, key: str, folder: Path, *, leave_out: str | None = None) -> None:
    """Test the application at *port* as the caller with *key*; fails with what schemathesis says."""
    command = [
        *(
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
        ),
        *("-H", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS), "--continue-on-failure"),
        *("--suppress-health-check", "all", "--warnings", "off"),
    ]
    if SECONDS:
        command += ["--max-time", str(SECONDS), "--max-examples", "150"]
    else:
        command += ["--phases", "fuzzing", "--max-examples", "1", "--generation-deterministic"]
        if leave_out is not None:
            command += ["--exclude-path-regex", leave_out]
    # Nothing else of the environment: neither proxies nor the measuring of coverage.
    environment = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(HERE),
        "SCHEMATHESIS_HOOKS": "problem_checks",
    }
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    assert "Test cases:" in ended.stdout


@pytest.mark.process
@pytest.mark.timeout(SECONDS + 180)
def test_reference_application_does_what_its_document_says(tmp_path: Path, patient_store: None) -> None:
    """No 5xx, only documented statuses and types, nobody without a key, and every error a problem with its id."""
    static_keys = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant, "scopes": scopes}
        for name, (key, tenant, scopes) in KEYS.items()
    }
    with local_server(TOKEN) as url:
        app = research_app(
            tmp_path,
            ResearchSettings(parallel_api_key=TOKEN, parallel_base_url=url),
            authentication={
                "mode": "keys",
                "static_keys": static_keys,
                "public_docs": True,
                "failures_per_minute": 6000,
            },
            api_keys={"peppers": {"1": "pepper of the tests 0123456789 abcdefghij"}},
            logs={"level": "CRITICAL", "access": False},
        )
        with serving(app) as served:
            run(served.port, KEYS["root"][0], tmp_path, leave_out=OTHER_AGENTS)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str = Field(min_length=1, max_length=20)
    weight: float = Field(gt=0, lt=1e6, allow_inf_nan=False, strict=True)
    parts: list[Part] = Field([], max_length=3)


def usual_application() -> FastAPI:
    """Parameters in every place, bodies of every kind, and handlers that refuse in their own ways."""
    app = FastAPI()

    @app.get("/parts/{number}")
    async def read(
        number: Annotated[int, PathParameter(ge=0, lt=2**31)],
        colour: Colour | None = None,
        tags: Annotated[list[str] | None, Query(max_length=5)] = None,
        x_size: Annotated[int, Header(ge=0)] = 1,
        theme: Annotated[str | None, Cookie(max_length=10)] = None,
    ) -> Part:
        if number % 3 == 1:
            raise HTTPException(404, {"reason": "there is no such part"})
        if number % 3 == 2:
            raise Problem(410, "It was sold.", number=number)
        return Part(name="a", weight=1.0)

    @app.put("/parts/{number}", status_code=204)
    async def write(number: int, part: Part) -> None:
        pass

    @app.post("/files")
    async def upload(
        file: Annotated[UploadFile, File()], note: Annotated[str, Form(max_length=100)] = ""
    ) -> int:
        return len(await file.read())

    @app.post("/login")
    async def login(
        name: Annotated[str, Form(min_length=1)], remember: Annotated[bool, Form()] = False
    ) -> str:
        return name

    @app.get("/open")
    @public
    async def anybody(q: Annotated[str, Query(pattern="^[a-z]{0,9}$")] = "") -> str:
        return q

    static_keys = {"ada": {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "scopes": ["a"]}}
    harden(
        app,
        settings=Settings(
            _env_file=None,
            environment="development",
            authentication={
                "mode": "keys",
                "static_keys": static_keys,
                "public_docs": True,
                "failures_per_minute": 6000,
            },
            rate_limiting={"address": "100000/minute"},
            cors={"origins": ["https://app.example"]},
            compression={"encodings": ["gzip"]},
            load_shedding={"max_in_flight": 100},
            logs={"level": "CRITICAL", "access": False},
        ),
    )
    return app


@pytest.mark.process
@pytest.mark.timeout(SECONDS + 180)
def test_usual_application_does_what_its_document_says(tmp_path: Path) -> None:
    """Likewise for parameters in every place and bodies of every kind, with nothing of the application's own about errors."""
    with serving(usual_application()) as served:
        run(served.port, KEY, tmp_path)
