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


@pytest.mark.parametrize("path", ["/redoc", f"/docs/{SWAGGER_UI}/none.js", f"/docs/{SWAGGER_UI}/../page.py"])
async def test_nothing_else_is_served_beside_it(harness: ApiHarness, path: str) -> None:
    answer = await harness.http.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
