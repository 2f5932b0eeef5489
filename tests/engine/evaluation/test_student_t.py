"""Student's quantile against SciPy's and against the printed tables."""

import pytest
from scipy import stats

from workers.engine.evaluation.verdict.student_t import student_t_quantile


@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995, 0.9999])
@pytest.mark.parametrize("freedom", [0.7, 1.0, 2.0, 2.31, 4.0, 7.5, 30.0, 333.3, 12_345.6, 1e6])
def test_it_is_scipys(probability: float, freedom: float) -> None:
    assert student_t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-8)


@pytest.mark.parametrize(("freedom", "printed"), [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (120, 1.980)])
def test_it_is_what_the_tables_print(freedom: int, printed: float) -> None:
    assert student_t_quantile(0.975, freedom) == pytest.approx(printed, abs=5e-4)


def test_with_many_degrees_of_freedom_it_is_the_normal_one() -> None:
    for freedom in (1e7, 1e12, float("inf")):
        assert student_t_quantile(0.975, freedom) == pytest.approx(stats.norm.ppf(0.975), abs=3e-6)


def test_it_is_odd_around_the_middle() -> None:
    assert student_t_quantile(0.025, 3.0) == pytest.approx(-student_t_quantile(0.975, 3.0), rel=1e-12)
    assert student_t_quantile(0.5, 3.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 3.0), (1.0, 3.0), (0.975, 0.0), (0.975, float("nan"))])
def test_what_has_no_quantile_is_refused(probability: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="expected a probability"):
        student_t_quantile(probability, freedom)
