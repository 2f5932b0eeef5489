"""From affinities to R: who helps whom, surely, relative to what a task does for itself."""

import pytest
import torch

from app.contracts.resolving.multitask.grouping import groups_of
from workers.engine.balancing.relation.estimate import LEAST, relation_of
from workers.engine.balancing.relation.running_stats import RunningStats

TRUE = torch.tensor([[2.0, 1.0, -0.5], [0.4, 4.0, 0.0], [0.0, 0.1, 0.2]])


def measured(times: int, noise: float = 0.0) -> RunningStats:
    found = RunningStats.none((3, 3), torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    for _ in range(times):
        found.add(TRUE + noise * torch.randn(3, 3, generator=draw))
    return found


def test_r_is_what_another_does_for_a_task_over_what_it_does_for_itself() -> None:
    assert torch.tensor(relation_of(measured(10))).tolist() == [
        pytest.approx([1.0, 0.5, 0.0]),
        pytest.approx([0.1, 1.0, 0.0]),
        pytest.approx([0.0, 0.5, 1.0]),
    ]


def test_harm_counts_as_nothing_and_never_as_a_negative_entry() -> None:
    assert relation_of(measured(10))[0][2] == 0.0


def test_what_is_within_three_standard_errors_of_nothing_does_not_count() -> None:
    noisy = relation_of(measured(40, noise=0.5))
    assert noisy[0][1] > 0.0
    assert noisy[2] == (0.0, 0.0, 1.0), "a task that does not surely help itself hears itself alone"


def test_until_there_are_enough_measurements_every_task_hears_itself() -> None:
    assert relation_of(measured(LEAST - 1)) == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_entries_that_were_not_measured_are_left_out_of_the_mean() -> None:
    found = measured(6)
    before = found.mean().clone()
    found.add(torch.full((3, 3), torch.nan))
    assert torch.equal(found.mean(), before)


def test_a_group_is_mutual() -> None:
    helps = [[1.0, 0.8, 0.0, 0.0], [0.7, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.9, 0.9, 0.0, 1.0]]
    assert groups_of(helps) == ((0, 1), (2,), (3,))


def test_all_of_a_group_are_linked_to_each_other() -> None:
    """A chain is no group: a and c do not help each other, and the firmer pair stays together."""
    chain = [[1.0, 0.9, 0.0], [0.9, 1.0, 0.5], [0.0, 0.5, 1.0]]
    assert groups_of(chain) == ((0, 1), (2,))


def test_groups_written_as_a_matrix_are_found_again() -> None:
    assert groups_of([[1, 0, 1], [0, 1, 0], [1, 0, 1]]) == ((0, 2), (1,))
