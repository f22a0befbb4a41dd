"""An application for `prodkit serve`: it says which of the workers answered."""

from __future__ import annotations

import os

from fastapi import FastAPI, Response

from prodkit import harden

app = FastAPI()


@app.get("/")
async def home(response: Response) -> dict[str, int]:
    response.headers["x-worker"] = str(os.getpid())
    return {"worker": os.getpid()}


harden(app)
