"""An application for `prodkit serve`: it says which of the workers answered. `/who` is not limited."""

from __future__ import annotations

import json
import os
from datetime import date

from fastapi import FastAPI, Response

from prodkit import RequestContext, harden
from prodkit.rate_limiting import Policy, RateLimiting

app = FastAPI()


@app.get("/who")
@app.get("/")
async def who(response: Response) -> None:
    response.headers["x-worker"] = str(os.getpid())


def asks_who(context: RequestContext) -> bool:
    return context.scope is not None and context.scope["path"] == "/who"


fields = json.loads(os.environ["PROOF_POLICY"])
if "anchor" in fields:
    fields["anchor"] = date.fromisoformat(fields["anchor"])
policy = Policy("proof", exempt=asks_who, **fields)
harden(app, RateLimiting(address=None, policies=[policy]))
