"""Nothing that is put into markup becomes markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import sockwatch.export.markup as markup_module
from sockwatch.export.markup import Markup, document, join, tag
from sockwatch.model.printable import printable

EXPORT = Path(markup_module.__file__).parent


class Parts(HTMLParser):
    """What a browser would see: elements with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(text=st.text(), value=st.text())
def test_text_and_attributes_come_out_as_they_went_in(text: str, value: str) -> None:
    parts = Parts(str(tag("p", text, title=value)))
    assert parts.elements == [("p", {"title": printable(value)})]
    assert parts.text == printable(text)


def test_children_nest_and_none_is_nothing() -> None:
    made = tag("ul", [tag("li", 1), None, tag("li", "a", "<b>")], class_="x", hidden=True, id=None, open=False)
    assert str(made) == '<ul class="x" hidden><li>1</li><li>a&lt;b&gt;</li></ul>'
    assert str(join("a", made)) == f"a{made}"
    assert str(tag("meta", charset="utf-8")) == '<meta charset="utf-8">'
    assert document(tag("html", lang="en")) == '<!DOCTYPE html>\n<html lang="en"></html>\n'


@pytest.mark.parametrize("address", ["javascript:a()", "//example.org", "https://example.org", "/\\example.org", ""])
@pytest.mark.parametrize("attribute", ["href", "src"])
def test_no_address_leads_away(attribute: str, address: str) -> None:
    with pytest.raises(ValueError, match="leads away"):
        tag("a", "there", **{attribute: address})


def test_markup_is_made_in_one_module_only() -> None:
    makers = [path.name for path in EXPORT.rglob("*.py") if re.search(r"\bMarkup\(", path.read_text())]
    assert makers == ["markup.py"]
    assert isinstance(tag("p"), Markup)
