import pytest

from sockwatch.nearest import nearest, unknown


@pytest.mark.parametrize(
    ("word", "text"), [("chek", "did you mean check?"), ("xyz", "valid: check, explain"), ("", "valid: check, explain")]
)
def test_names_the_nearest_or_all_of_few(word: str, text: str) -> None:
    assert nearest(word, ["check", "explain"]) == text


def test_says_nothing_of_many_that_are_all_far() -> None:
    assert nearest("xyz", map(str, range(20))) == ""
    assert unknown("word", "xyz", map(str, range(20))) == 'unknown word "xyz"'
