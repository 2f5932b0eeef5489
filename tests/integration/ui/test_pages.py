"""The dashboard's files: one page for every path, and a policy that loads and runs nothing of others."""

import re
from urllib.parse import urljoin

import pytest

from tests.integration.api.harness import ApiHarness

PATHS = ("/ui", "/ui/", "/ui/jobs", "/ui/jobs/job_1", "/ui/datasets/ds_1/rows", "/ui/jobs/..%2Fqueue")


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_finds_its_files_from_where_it_is(harness: ApiHarness, path: str) -> None:
    harness.http.headers.pop("authorization")
    answer = await harness.http.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    urls = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    assert urls
    for url in urls:
        assert (await harness.http.get(urljoin(str(answer.url), url))).status_code == 200, url


async def test_the_policy_forbids_other_hosts_inline_scripts_and_frames(harness: ApiHarness) -> None:
    policy = (await harness.http.get("/ui")).headers["content-security-policy"]
    directives = {name: set(sources) for name, *sources in (each.split() for each in policy.split("; "))}
    assert directives["default-src"] == {"'none'"}
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == {"'self'"}
    assert directives["frame-ancestors"] == directives["form-action"] == directives["base-uri"] == {"'none'"}
    assert directives["require-trusted-types-for"] == {"'script'"}


async def test_a_page_too_deep_and_a_file_that_is_not_there_are_problems(harness: ApiHarness) -> None:
    for path, code in (("/ui/a/b/c/d", "no_such_page"), ("/ui/static/none.js", "no_such_file")):
        answer = await harness.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_no_path_leaves_the_folder_of_the_files(harness: ApiHarness) -> None:
    for path in ("../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "index.html"):
        answer = await harness.http.get(f"/ui/static/{path}")
        assert answer.status_code == 404 or answer.text.startswith("<!doctype html>"), path
        assert "import" not in answer.text, path
