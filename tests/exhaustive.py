"""Products of parameters of which `make test` runs a sample, and `make test-all` everything."""

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def sample(cases: Iterable[Any], keep: Iterable[Any]) -> list[ParameterSet]:
    """Parameters for `pytest.mark.parametrize`: `cases`, those outside `keep` marked `exhaustive`.

    A case is one value, or a tuple with a value for each argument. Raises ValueError where `keep` is empty or has
    something that is no case, so that no name outlives the case that it meant.
    """
    all_cases, kept = list(cases), list(keep)
    unknown = [case for case in kept if case not in all_cases]
    if unknown or not kept:
        raise ValueError(f"expected some of {all_cases} to keep, found {kept}; unknown: {unknown}")
    return [_parameters(case, () if case in kept else (pytest.mark.exhaustive,)) for case in all_cases]


def _parameters(case: Any, marks: tuple[pytest.MarkDecorator, ...]) -> ParameterSet:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks)
