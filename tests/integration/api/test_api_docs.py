"""`/docs` works without a network: every file that the page needs comes from the service itself."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from app.http.docs.page import SWAGGER_UI
from tests.integration.api.harness import ApiHarness


class Page(HTMLParser):
    """The URLs that a page refers to, its inline scripts, styles and event handlers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.urls += [value for name in ("src", "href", "action") if (value := given.get(name))]
        if (tag == "script" and "src" not in given) or tag == "style":
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]


async def page(harness: ApiHarness) -> tuple[httpx.Response, Page]:
    harness.http.headers.pop("authorization")
    answer = await harness.http.get("/docs")
    assert answer.status_code == 200
    return answer, Page(answer.text)


async def test_every_asset_of_the_page_is_served_by_the_service_without_a_key(harness: ApiHarness) -> None:
    answer, found = await page(harness)
    kinds = {}
    for url in found.urls:
        asset = await harness.http.get(urljoin(str(answer.url), url))
        assert asset.status_code == 200, url
        assert asset.headers["etag"]
        kinds[url.rpartition("/")[2]] = asset.headers["content-type"].partition(";")[0]
    assert kinds == {
        "favicon-32x32.png": "image/png",
        "swagger-ui.css": "text/css",
        "swagger-ui-bundle.js": "text/javascript",
        "start.js": "text/javascript",
    }


async def test_the_page_refers_to_no_other_host_and_its_policy_forbids_to(harness: ApiHarness) -> None:
    answer, found = await page(harness)
    assert found.inline == []
    assert all(not urlsplit(url).netloc and not urlsplit(url).scheme for url in found.urls)
    directives = [part.split() for part in answer.headers["content-security-policy"].split("; ")]
    policy = {name: set(sources) for name, *sources in directives}
    assert policy["default-src"] == {"'none'"}
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == {"'self'"}
    assert set().union(*policy.values()) == {"'none'", "'self'", "data:"}


async def test_the_script_shows_the_document_of_this_service(harness: ApiHarness) -> None:
    _, found = await page(harness)
    (start,) = (url for url in found.urls if url.endswith("start.js"))
    script = (await harness.http.get(f"/{start}")).text
    (document,) = re.findall(r'url: "(.*)"', script)
    assert (await harness.http.get(urljoin("http://localhost/docs", document))).json()["openapi"].startswith("3.")
    assert "//" not in re.sub(r"^//.*$", "", script, flags=re.MULTILINE)


@pytest.mark.parametrize("path", ["/docs/start.js", f"/docs/{SWAGGER_UI}/swagger-ui.css"])
async def test_an_asset_that_did_not_change_is_not_sent_again(harness: ApiHarness, path: str) -> None:
    first = await harness.http.get(path)
    again = await harness.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == again.headers["cache-control"]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_the_document_and_the_page_are_made_once_and_sent_to_those_who_do_not_have_them(
    harness: ApiHarness, path: str
) -> None:
    plain = await harness.http.get(path, headers={"Accept-Encoding": "gzip;q=0, identity"})
    packed = await harness.http.get(path, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.content == plain.content, "httpx has decompressed it"
    assert ("content-encoding" in plain.headers, packed.headers["content-encoding"]) == (False, "gzip")
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert plain.headers["etag"] != packed.headers["etag"], "they are different bytes"
    for answer, accepted in ((plain, "identity"), (packed, "gzip")):
        assert answer.headers["vary"] == "Accept-Encoding"
        asked = {"If-None-Match": f'"other", {answer.headers["etag"]}', "Accept-Encoding": accepted}
        again = await harness.http.get(path, headers=asked)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        assert (await harness.http.head(path, headers=asked)).status_code == 304


async def test_the_document_is_serialised_for_the_first_request_alone(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await harness.http.get("/openapi.json")
    monkeypatch.setattr(harness.app, "openapi_schema", {"another": "document"})
    assert (await harness.http.get("/openapi.json")).content == first.content
    assert first.json()["openapi"].startswith("3.")


@pytest.mark.parametrize("path", ["/redoc", f"/docs/{SWAGGER_UI}/none.js", f"/docs/{SWAGGER_UI}/../page.py"])
async def test_nothing_else_is_served_beside_it(harness: ApiHarness, path: str) -> None:
    answer = await harness.http.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
