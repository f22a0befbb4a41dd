"""The names of a route: what its author wrote, all of it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, Query
from pydantic import AliasChoices, AliasPath, BaseModel, Field
from starlette.routing import Route
from typing_extensions import TypedDict

from prodkit.core.declared import declared_names


class Leaf(BaseModel):
    leaf: int
    aliased: int = Field(alias="theAlias")
    chosen: int = Field(  # type: ignore[pydantic-alias]
        0, validation_alias=AliasChoices("one", AliasPath("two", "deep", 0))
    )


class Cat(BaseModel):
    kind: Literal["cat"]
    claws: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tail: int


class Typed(TypedDict):
    typed: int


@dataclass
class Data:
    datum: int


class Tree(BaseModel):
    children: list[Tree] = []
    leaves: dict[str, Leaf] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    typed_one: Typed
    data_one: Data | None = None


class Paging(BaseModel):
    page: int = 1


def test_every_name_that_is_declared():
    """Parameters of dependencies too, fields however deep, aliases as they are sent; no type names, tags or keys."""
    app = FastAPI()

    def dependency(within: int, x_token: Annotated[str, Header()]) -> None: ...

    @app.post("/{place}", dependencies=[Depends(dependency)])
    async def endpoint(
        place: str, tree: Tree, paging: Annotated[Paging, Query()], other: dict[str, int]
    ) -> None: ...

    names = declared_names(app.routes[-1])
    assert names >= {"place", "within", "x-token", "page", "tree", "other", "children", "leaves", "leaf"}
    assert names >= {"theAlias", "one", "two", "deep", "pet", "kind", "claws", "tail", "typed", "datum"}
    assert names.isdisjoint({"int", "str", "Cat", "cat", "dog", "Tree", "model", "fields", ""})


def test_a_type_that_is_not_defined_yet():
    """A forward reference that nothing resolved is not read, and does not turn a 422 into a failure."""
    app = FastAPI()

    class Local(BaseModel):
        inside: int

    @app.post("/{place}")
    async def endpoint(place: int, body: Local) -> None: ...

    assert declared_names(app.routes[-1]) == {"place", "body"}


def test_what_is_not_known_has_no_names():
    """A route of Starlette's, and no route at all."""

    async def plain(request: Any) -> None: ...

    assert declared_names(Route("/{x}", plain)) == frozenset()
    assert declared_names(None) == frozenset()
