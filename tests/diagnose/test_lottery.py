import random

import pytest

from builders import namespace
from sockwatch.diagnose.lottery import chance, drawn_first_by, tries_on_average

SMALL = namespace(ip_local_port_range="40000\t40199", ip_local_reserved_ports="40000-40019")


@pytest.mark.parametrize(
    ("port", "drawn", "average"),
    [
        (40020, "connect()", 90),
        (40021, "bind() to port 0", None),
        (40018, None, None),
        (40200, None, None),
        (39998, None, None),
    ],
)
def test_parity_range_and_reserved_ports_decide(port: int, drawn: str | None, average: int | None) -> None:
    assert drawn_first_by(SMALL, port) == drawn
    assert tries_on_average(SMALL, port) == average


def test_the_default_range_takes_14116_tries_for_an_even_port_and_connect_alone_never_hits_an_odd_one() -> None:
    assert tries_on_average(namespace(), 40000) == 14_116
    assert tries_on_average(namespace(), 40001) is None
    assert (chance(namespace(), 40000, 0), chance(namespace(), 40001, 1e9)) == (0.0, 0.0)
    assert chance(namespace(), 40000, 9_784) == pytest.approx(0.5, abs=0.001)


def test_a_range_that_cannot_be_read_says_nothing() -> None:
    assert drawn_first_by(namespace(ip_local_port_range=""), 40000) is None
    assert tries_on_average(namespace(ip_local_port_range=""), 40000) is None


def test_the_average_is_that_of_the_kernels_walk() -> None:
    """The start moves on by 2 + 2 * rand(0..7) ports with each connection, as table_perturb does."""
    draw = random.Random(1)  # noqa: S311 - it must be the same at each run
    tries = []
    for _ in range(1_000):
        at, count = draw.randrange(100), 1
        while at % 100 != 42:  # 100 ports of the first parity
            at += 1 + draw.randrange(8)
            count += 1
        tries.append(count)
    average = tries_on_average(namespace(ip_local_port_range="40000 40199"), 40084)
    assert average == 100
    # Two of nine are hit in each lap, and the first lap begins anywhere: a ninth less than one in N.
    assert sum(tries) / len(tries) == pytest.approx(average * 8 / 9, rel=0.1)
