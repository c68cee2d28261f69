import pytest
from hypothesis import given, settings, strategies

from sockwatch.model.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx: worker", "nginx: worker"),
        ("Übung 日本", "Übung 日本"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("abc\u202egnp.exe", r"abc\u202egnp.exe"),
        ("\u2066isolated\u2069", r"\u2066isolated\u2069"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("byte \udcff", r"byte \udcff"),
        ("\x9b31m", r"\x9b31m"),
        ("no\u00a0break", r"no\xa0break"),
        ("", ""),
    ],
)
def test_only_what_a_terminal_might_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@settings(deadline=None, database=None)
@given(strategies.text(strategies.characters()))
def test_any_text_becomes_printable_valid_utf_8_and_stays_so(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown) == shown
