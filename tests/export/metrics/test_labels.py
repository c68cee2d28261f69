import unicodedata

import pytest
from hypothesis import given, strategies as st

from sockwatch.export.metrics.labels import MOST_CHARACTERS, label


@given(st.text(st.characters(exclude_categories=()), max_size=400))
def test_any_text_becomes_a_short_printable_one_and_stays_as_it_is_then(text: str) -> None:
    made = label(text)
    assert len(made) <= MOST_CHARACTERS
    assert not {unicodedata.category(character) for character in made} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert made.encode() == made.encode("utf-8", "strict")
    assert label(made) == made


@pytest.mark.parametrize("text", ["nginx", "", "a" * MOST_CHARACTERS, "Prozeß 7", 'a"b\\c'])
def test_what_is_short_and_printable_is_left_alone(text: str) -> None:
    assert label(text) == text


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ('a\nb"} 1', 'a\\nb"} 1'),
        ("\x1b[2J", "\\x1b[2J"),
        ("\udcff", "\\udcff"),
        ("\u202egnp", "\\u202egnp"),
        ("nul\0", "nul\\x00"),
    ],
)
def test_what_a_terminal_or_a_parser_might_obey_is_escaped(text: str, made: str) -> None:
    assert label(text) == made


@given(st.sets(st.text(min_size=0, max_size=8), min_size=2, max_size=20))
def test_long_values_that_differ_at_their_ends_stay_different(ends: set[str]) -> None:
    long = {"x" * MOST_CHARACTERS + end for end in ends if end.isprintable()}
    assert len({label(text) for text in long}) == len(long)
