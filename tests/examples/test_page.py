"""The files of the page: their routes, headers and policy. What they do in a browser is in page/."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from examples.research_agents import page
from examples.research_agents.page import CONTENT_SECURITY_POLICY, page_router
from prodkit import harden
from prodkit.authentication import Authentication, StaticKeys

FOLDER = Path(page.__file__).parent / "static"
FILES = sorted(path.name for path in FOLDER.iterdir())
PATHS = ["/" if name == "index.html" else f"/page/{name}" for name in FILES]
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    """The page in an application where everything is denied that is not public."""
    app = FastAPI()
    app.include_router(page_router())

    @app.get("/v1/secret")
    async def secret() -> str:
        return "secret"

    harden(app, Authentication(StaticKeys({"one": {"sha256": StaticKeys.generate().sha256}})))
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize(("name", "path"), list(zip(FILES, PATHS, strict=True)))
def test_every_file_is_served_to_everybody(client: TestClient, name: str, path: str) -> None:
    """Each file of the folder has its route, type, tag and policy, and needs no key; what else there is does."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == TYPES[name.rsplit(".", 1)[1]]
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["cache-control"] == "no-cache"
    assert re.fullmatch(r'"[0-9a-f]{32}"', answer.headers["etag"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("/v1/secret").status_code == 401


@pytest.mark.parametrize("path", PATHS)
def test_head_tells_what_get_would(client: TestClient, path: str) -> None:
    """The same headers, the length included, and no body."""
    get, head = client.get(path), client.head(path)
    assert head.status_code == 200
    assert head.content == b""
    named = ("content-type", "content-length", "etag", "cache-control", "content-security-policy")
    assert [head.headers[name] for name in named] == [get.headers[name] for name in named]


@pytest.mark.parametrize("form", ["{etag}", "W/{etag}", '"other", {etag}', "*"])
def test_what_the_browser_has_is_not_sent_again(client: TestClient, form: str) -> None:
    """304 with the tag and with the page's own policy: the stricter one for data would otherwise replace it in the cache."""
    etag = client.get("/").headers["etag"]
    answer = client.get("/", headers={"If-None-Match": form.format(etag=etag)})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == etag
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("condition", ['"other"', "", '""', 'W/"other", "more"'])
def test_what_the_browser_has_not_is_sent(client: TestClient, condition: str) -> None:
    """Another tag, or nonsense, is answered with the file."""
    assert client.get("/", headers={"If-None-Match": condition}).status_code == 200


def test_tags_differ_and_follow_the_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A changed file gets another tag, and no two files share one."""
    before = tags()
    assert len(set(before.values())) == len(FILES)
    copy = tmp_path / "static"
    shutil.copytree(FOLDER, copy)
    (copy / "app.js").write_text("// changed\n", encoding="utf-8")
    monkeypatch.setattr(page, "_FOLDER", copy)
    after = tags()
    assert {path for path in before if before[path] != after[path]} == {"/page/app.js"}


def tags() -> dict[str, str]:
    app = FastAPI()
    app.include_router(page_router())
    client = TestClient(app)
    return {path: client.get(path).headers["etag"] for path in PATHS}


def test_files_are_read_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A request never touches the disk: the files may be gone. An incomplete installation does not start."""
    copy = tmp_path / "static"
    shutil.copytree(FOLDER, copy)
    monkeypatch.setattr(page, "_FOLDER", copy)
    app = FastAPI()
    app.include_router(page_router())
    shutil.rmtree(copy)
    assert all(TestClient(app).get(path).status_code == 200 for path in PATHS)
    with pytest.raises(FileNotFoundError):
        page_router()


@pytest.mark.parametrize(
    "path",
    [
        "/page/../__init__.py",
        "/page/%2e%2e/__init__.py",
        "/page/..%2f__init__.py",
        "/page/",
        "/page/index.html",
        "/page//app.js",
        "/page/app.js/",
        "/page/app.js%00.css",
        "/index.html",
    ],
)
def test_there_is_nothing_else(path: str) -> None:
    """A path is a name among the known ones, never a place on the disk; at most a slash too many is forgiven."""
    app = FastAPI()
    app.include_router(page_router())
    harden(app)
    answer = TestClient(app).get(path)
    expected = 400 if "%00" in path else 404  # no path holds a NUL
    assert answer.status_code == expected or (answer.url.path, len(answer.history)) == ("/page/app.js", 1)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_page_is_only_read(client: TestClient, method: str) -> None:
    """A form that was sent without its script reaches nothing."""
    assert client.request(method, "/").status_code == 405


def test_the_page_is_no_part_of_the_api() -> None:
    """Its routes do not stand in the schema."""
    app = FastAPI()
    app.include_router(page_router())
    assert app.openapi()["paths"] == {}


def test_below_a_prefix_the_page_finds_its_files() -> None:
    """All its URLs are relative, so that it can be mounted anywhere."""
    inner, outer = FastAPI(), FastAPI()
    inner.include_router(page_router())
    outer.mount("/research", inner)
    client = TestClient(outer)
    markup = client.get("/research/").text
    urls = re.findall(r'(?:src|href)="(page/[^"]+)"', markup)
    assert len(urls) == 3
    assert all(client.get(f"/research/{url}").status_code == 200 for url in urls)


class Markup(HTMLParser):
    """Collects what the policy would refuse, and what a reader without a mouse needs."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.urls: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inline += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        self.inline += ["style"] if tag == "style" else []
        self.urls += [value or "" for name, value in attrs if name in {"src", "href", "action", "srcset"}]
        self.ids += [given["id"] or ""] if "id" in given else []
        for name in ("for", "aria-describedby", "aria-labelledby"):
            self.references += (given.get(name) or "").split()
        if tag == "label":
            self.labelled.add(given.get("for") or "")
        if tag in {"input", "textarea", "select"}:
            self.fields.append(given)
        self._script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append("script")

    def handle_endtag(self, tag: str) -> None:
        self._script = False


def markup() -> Markup:
    parser = Markup()
    parser.feed((FOLDER / "index.html").read_text(encoding="utf-8"))
    return parser


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    """The policy would refuse inline code and styles, and a URL with a host would tell others who reads."""
    page = markup()
    assert page.inline == []
    assert page.urls
    assert [url for url in page.urls if ":" in url or url.startswith("/")] == []


def test_every_field_has_its_label_and_no_name() -> None:
    """Each field is announced; none would be serialised if the form were ever sent without its script."""
    page = markup()
    assert len(page.fields) > 5
    assert [one for one in page.fields if one.get("id") not in page.labelled] == []
    assert [one for one in page.fields if "name" in one] == []
    assert sorted(set(page.ids)) == sorted(page.ids)
    assert set(page.references) <= set(page.ids)


def test_the_key_field_is_not_remembered() -> None:
    """It is a password field that the browser is asked not to fill or to keep."""
    (key,) = [one for one in markup().fields if one.get("id") == "key"]
    assert (key["type"], key["autocomplete"]) == ("password", "off")


def test_scripts_use_no_sink_and_no_storage() -> None:
    """No way to make markup or code of a string, and no place in which a key could be kept, is so much as mentioned."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|createContextualFragment"
        r"|srcdoc|localStorage|sessionStorage|indexedDB|document\.cookie|caches\b|pushState|replaceState|console\."
    )
    found = [
        f"{path.name}: {match[0]}"
        for path in sorted(FOLDER.glob("*.js"))
        for match in forbidden.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_file_can_be_read_over_a_coffee() -> None:
    """The limit of lines that holds for Python holds for what is not Python, too."""
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in FOLDER.iterdir()}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}
