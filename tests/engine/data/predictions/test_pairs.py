"""Pairs of a class and its probability become the distribution over all classes that they leave."""

from typing import Any

import numpy as np
import pytest

from app.contracts.resources.predictions import PredictedOutput
from workers.engine.data.predictions.pairs import expanded


def output(size: int, meaning: str = "probabilities", columns: int = 1) -> PredictedOutput:
    names = tuple(f"c{i}" for i in range(columns)), tuple(f"s{i}" for i in range(columns))
    return PredictedOutput.model_validate(
        {
            "top_k": {"classes": names[0], "scores": names[1]},
            "size": size,
            "predicts": {"kind": "class", "output": meaning},
        }
    )


def largest(p: Any, k: int) -> tuple[Any, Any]:
    places = p.argsort(1)[:, ::-1][:, :k]
    return places, np.take_along_axis(p, places, 1)


@pytest.mark.parametrize("k", [1, 3, 7, 8])
@pytest.mark.parametrize("meaning", ["probabilities", "log_probabilities"])
def test_named_classes_keep_their_probability_and_the_others_share_the_rest(k: int, meaning: str) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(8) * 0.5, size=50)
    places, scores = largest(p, k)
    given = np.log(scores) if meaning == "log_probabilities" else scores
    found = expanded("y", output(8, meaning), {"c0": places, "s0": given})
    rest = (1.0 - scores.sum(1)) / max(8 - k, 1)
    expected = np.repeat(rest[:, None], 8, axis=1)
    np.put_along_axis(expected, places, scores, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-5)


def test_a_column_for_each_pair_is_the_same_as_one_of_lists() -> None:
    places, scores = largest(np.random.default_rng(1).dirichlet(np.ones(5), size=20), 2)
    lists = expanded("y", output(5), {"c0": places, "s0": scores})
    apart = {f"c{i}": places[:, i] for i in range(2)} | {f"s{i}": scores[:, i] for i in range(2)}
    np.testing.assert_array_equal(expanded("y", output(5, columns=2), apart), lists)


def test_a_pair_that_is_left_out_leaves_its_probability_to_the_rest_and_a_row_without_any_has_none() -> None:
    places, scores = np.array([[2, -1], [-1, 0], [-1, -1]]), np.array([[0.7, np.nan], [np.nan, 1.0], [np.nan, np.nan]])
    found = expanded("y", output(4), {"c0": places, "s0": scores})
    np.testing.assert_allclose(found[:2], [[0.1, 0.1, 0.7, 0.1], [1.0, 0.0, 0.0, 0.0]], atol=1e-7)
    assert np.isnan(found[2]).all()


def test_probabilities_that_were_rounded_to_more_than_one_leave_no_negative_rest() -> None:
    found = expanded("y", output(3), {"c0": np.array([[0, 1]]), "s0": np.array([[0.67, 0.34]])})
    assert found[0, 2] == 0.0
