"""Token buckets on a clock that the test sets."""

import pytest

from app.http.limits import Buckets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    clock = Clock()
    buckets = Buckets(rate=2.0, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("a") == pytest.approx(0.5), "a refusal takes nothing"
    clock.now += 0.5
    assert buckets.take("a") == pytest.approx(0.0)
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 100.0
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0], "it never holds more than the burst"
    assert buckets.take("a") > 0.0


def test_names_have_buckets_of_their_own() -> None:
    buckets = Buckets(rate=1.0, burst=1, clock=Clock())
    assert (buckets.take("a"), buckets.take("b")) == (0.0, 0.0)
    assert buckets.take("a") > 0.0


def test_the_patient_wait_in_turn() -> None:
    buckets = Buckets(rate=1.0, burst=1, clock=Clock())
    assert [buckets.take("a", patience=2.0) for _ in range(4)] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert buckets.take("a", patience=2.0) == pytest.approx(3.0), "beyond their patience they are not in the line"


def test_the_names_that_are_kept_are_bounded() -> None:
    buckets = Buckets(rate=1.0, burst=1, clock=Clock())
    assert buckets.take("first") == 0.0
    for number in range(10_000):
        assert buckets.take(str(number)) == 0.0
    assert buckets.take("9999") > 0.0
    assert buckets.take("first") == 0.0
