"""The dashboard's page and files: what they may load, and how they are cached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drover.core.settings import Settings
from drover.server.service import Drover
from tests.unit.web.rest_client import RestClient, Served

STATIC = Path(__file__).parents[3] / "drover" / "web" / "static"
MODULES = sorted(STATIC.glob("*.js"))
FILES = [f"/static/{path.name}" for path in sorted(STATIC.glob("*.*"))]
LONGEST_MODULE = 400


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> RestClient:
    return RestClient(Served(Drover(Settings(data_dir=tmp_path_factory.mktemp("d")))).application)


@pytest.mark.parametrize("path", ["/", *FILES])
def test_every_file_of_the_page_is_served_with_a_strict_policy(client: RestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == policy.pop("frame-ancestors") == "'none'"
    assert policy.pop("base-uri") == policy.pop("form-action") == "'none'"
    assert {policy.pop(f"{kind}-src") for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert policy == {"require-trusted-types-for": "'script'", "trusted-types": "'none'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_has_not_changed_is_not_sent_again(client: RestClient, path: str) -> None:
    tag = client.get(path).headers["ETag"]
    again = client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")


def test_a_module_is_declared_as_javascript_on_every_system(client: RestClient) -> None:
    assert client.get("/static/dashboard.js").mimetype == "text/javascript"


def test_a_file_that_is_not_part_of_the_page_is_not_served(client: RestClient) -> None:
    assert client.get("/static/../dashboard.py").status_code == 404
    assert client.get("/static/nothing.js").status_code == 404


def test_the_page_has_no_external_resources_and_no_inline_code(client: RestClient) -> None:
    html = client.get("/").text
    assert re.findall(r'(?:src|href)="([^"]*)"', html) == [
        *("/static/icon.svg", "/static/dashboard.css", "/static/dashboard.js"),
        *("#main", "#sessions", "#processes", "#timeline", "#log"),
    ]
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", html)


@pytest.mark.parametrize("name", ["Clean up orphans", "Preview", "Emergency recovery"])
def test_the_buttons_have_exactly_these_names(client: RestClient, name: str) -> None:
    assert re.search(rf"<button [^>]*>{name}</button>", client.get("/").text)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_no_module_turns_text_into_markup(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )
    assert len(text.splitlines()) <= LONGEST_MODULE


def test_every_element_used_by_a_module_is_on_the_page(client: RestClient) -> None:
    html = client.get("/").text
    text = "".join(module.read_text(encoding="utf-8") for module in MODULES)
    asked = set(re.findall(r'(?:byId|stamp)\("([^"]+)"\)', text))
    assert asked
    assert {name for name in asked if f'id="{name}"' not in html} == set()
