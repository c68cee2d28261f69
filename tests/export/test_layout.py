import pytest

from sockwatch.export.layout import BOLD, RED, Line, duration, number, paint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119.4, "119 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_large_numbers_have_their_thousands_apart() -> None:
    assert number(1_009_851) == "1,009,851"


def test_what_is_painted_cannot_leave_its_line_or_act() -> None:
    assert paint([Line("\x1b[2J", "a\nb", RED + BOLD, BOLD)], colour=True) == (
        "\x1b[31;1m\\x1b[2J\x1b[0m\x1b[1ma\\nb\x1b[0m\n"
    )


def test_without_colour_there_are_no_codes_and_no_trailing_blanks() -> None:
    assert paint([Line("a  ", "", RED), Line(), Line("b", " c")], colour=False) == "a\n\nb c\n"
