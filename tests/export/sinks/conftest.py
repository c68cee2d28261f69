"""Receivers that answer on a real socket of the loopback interface."""

from collections.abc import Iterator

import pytest

from sinks import FakeClock, WebReceiver


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver
