"""schemathesis over an application as its OpenAPI document describes it: no 5xx, and every error is a problem."""

from __future__ import annotations

import hashlib
from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Cookie, FastAPI, File, Form, Header, HTTPException, Query, UploadFile
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field

from prodkit import Problem, Settings, harden
from prodkit.authentication import public
from tests.protection.schema import SECONDS, run
from tests.protection.sending import KEY
from tests.support.server import serving


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
        run(served.port, KEY, tmp_path, examples=6)
