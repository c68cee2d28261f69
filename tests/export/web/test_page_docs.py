"""docs/status-page.md and docs/http.md say what is there."""

import re
from pathlib import Path

from browser import scenes
from export.web.serving import Served
from sockwatch.export.diagram import RATES
from sockwatch.export.web.openapi import openapi
from sockwatch.export.web.socket_query import KNOWN

DOCS = Path(__file__).parents[3] / "docs"


def test_the_parts_of_the_page_are_those_of_its_docs() -> None:
    with Served() as served:
        served.last = scenes.sick()
        titles = re.findall(r"<h2[^>]*>([^<]+)<", served.get("/").text)
    text = (DOCS / "status-page.md").read_text(encoding="utf-8")
    table = text.partition("| part |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (\w[\w ]*) \|", table, re.MULTILINE)[1:] == titles
    assert set(re.findall(r"`((?:Tcp|TcpExt)\.\w+)`", text)) == RATES.keys() - {"Tcp.OutRsts"}
    assert all((DOCS / image).stat().st_size < 250_000 for image in re.findall(r"\((img/[\w.-]+)\)", text))


def test_the_api_in_the_docs_is_the_one_that_is_served() -> None:
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(/api/[\w./]+)` \|", text, re.MULTILINE)) == openapi()["paths"].keys()
    told = {name for name in KNOWN if f"`{name}=" in text or f"`{name}`" in text}
    assert told == set(KNOWN)
