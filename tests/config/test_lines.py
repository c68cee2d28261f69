from hypothesis import given, strategies as st

from sockwatch.config.lines import key_lines, line_of

TEXT = """\
top = 1
[alerts]
for = 3
[[alerts.silences]]
code = "a"
[[alerts.silences]]

code = "b"
[sinks."a.b"]
headers.x = 1
[[alerts.silences]]
"""


def test_each_key_has_its_line() -> None:
    lines = key_lines(TEXT)
    assert lines["top",] == 1
    assert lines["alerts",] == 2
    assert lines["alerts", "for"] == 3
    assert lines["alerts", "silences"] == 4
    assert lines["alerts", "silences", 0, "code"] == 5
    assert lines["alerts", "silences", 1, "code"] == 8
    assert lines["alerts", "silences", 2] == 11


def test_what_has_no_line_of_its_own_has_that_of_the_table_around_it() -> None:
    lines = key_lines(TEXT)
    assert line_of(lines, ("alerts", "silences", 1, "until")) == 6
    assert line_of(lines, ("alerts", "repeat")) == 2
    assert line_of(lines, ("poll", "interval")) is None


def test_it_looks_no_deeper_and_no_further_than_a_config_goes() -> None:
    assert len(key_lines("a." * 500_000 + "a = 1")) < 20
    assert key_lines(" " * 1_000_000) == {}


@given(st.text("[]=.\"' \n#ab") | st.text())
def test_the_scan_for_lines_survives_any_text(text: str) -> None:
    assert all(1 <= line <= len(text.splitlines()) for line in key_lines(text).values())
