"""Top-k targets: the probabilities of stored classes, the mass of the others, and the classes drawn from them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.engine.losses.small_terms import softmax
from workers.engine.data.rows.columns import Rows
from workers.engine.data.top_k.packing import TopKPacking
from workers.engine.data.top_k.rest import log_mass, rest_numbers
from workers.engine.data.top_k.rows import TopK, TopKColumn

CPU = torch.device("cpu")
CLASSES = 60
EXACT = (0.5, 1.0, 2.0, 4.0)
TEMPERATURES = (0.05, 0.3, *EXACT, 1.5, 3.0, 7.0, 100.0)


def scores(rows: int = 50, classes: int = CLASSES, spread: float = 3.0, seed: int = 0) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * spread


def column(of: Tensor, k: int, draws: int, dtype: torch.dtype = torch.float32, epoch: int = 0) -> TopKColumn:
    packing = TopKPacking(of.shape[1], k, draws, epoch)
    numbers, indices = packing.pack(of, 0)
    return TopKColumn(TopK(numbers.to(dtype), indices, packing), CPU)


def every_row(of: Tensor) -> Rows:
    return Rows.on(CPU, torch.arange(len(of)))


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0, 8.0, 300.0])
@pytest.mark.parametrize("draws", [0, 5, 80])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_trap_probabilities_of_all_classes_sum_to_one_at_every_temperature(
    temperature: float, draws: int, spread: float
) -> None:
    whole = scores(spread=spread)
    log_p, weights = column(whole, 8, draws).drawn(every_row(whole), temperature)
    if draws > 0:
        torch.testing.assert_close(weights.sum(1), torch.ones(50), rtol=0, atol=1e-5)
        assert bool((weights >= 0.0).all())
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(50), rtol=0, atol=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_trap_stored_classes_keep_the_probability_that_the_teacher_gives_them(temperature: float) -> None:
    """Not the one that is left when the others are forgotten: the largest of them has the whole sum then."""
    whole = scores()
    log_p, weights = column(whole, 8, 4).drawn(every_row(whole), temperature)
    expected = torch.from_numpy(softmax(whole.numpy() / temperature)).float()
    top = whole.topk(8, dim=1).indices
    closeness = 1e-6 if temperature in EXACT else 2e-3
    for found in (log_p.exp(), weights):
        torch.testing.assert_close(found.gather(1, top), expected.gather(1, top), rtol=0, atol=closeness)


@pytest.mark.parametrize(("spread", "error"), [(1.0, 0.001), (3.0, 0.05), (8.0, 0.07)])
def test_the_mass_of_the_rest_is_known_at_every_temperature(spread: float, error: float) -> None:
    whole = scores(rows=100, classes=500, spread=spread).double()
    whole -= whole.amax(1, keepdim=True)
    top = whole.topk(16, dim=1).indices
    numbers, rest = rest_numbers(whole, top), whole.scatter(1, top, -torch.inf)
    for temperature in np.geomspace(1.0, 100.0, 60):
        found = log_mass(numbers, 484, float(temperature))
        torch.testing.assert_close(found, (rest / temperature).logsumexp(1), rtol=0, atol=error)
    for temperature in EXACT:
        found = log_mass(numbers, 484, temperature)
        torch.testing.assert_close(found, (rest / temperature).logsumexp(1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.2, 0.9, 1.0, 3.0, 50.0])
def test_a_temperature_that_is_learned_gives_the_same_and_a_gradient(temperature: float) -> None:
    whole = scores()
    kept, tau = column(whole, 8, 4), torch.tensor(temperature, requires_grad=True)
    found = kept.softened(every_row(whole), tau)
    torch.testing.assert_close(found, kept.softened(every_row(whole), temperature))
    (slope,) = torch.autograd.grad(found[:, 0].sum(), tau)
    step = 0.01 * temperature
    higher, lower = (kept.softened(every_row(whole), temperature + by)[:, 0].sum() for by in (step, -step))
    assert float(slope) == pytest.approx(float((higher - lower) / (2 * step)), rel=0.05)


def test_half_precision_is_relative_to_the_largest_score() -> None:
    """Logits of any size keep three digits of each probability."""
    whole = scores() + 60_000.0
    whole = whole.round()
    found = column(whole, 8, 4, torch.float16).softened(every_row(whole), 2.0)
    expected = column(whole, 8, 4).softened(every_row(whole), 2.0)
    torch.testing.assert_close(found.exp(), expected.exp(), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("temperature", EXACT)
def test_draws_estimate_the_probabilities_of_the_rest(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of the weights over 2000 rows of the same scores: without bias at temperature 2, little at others."""
    one = scores(rows=1, spread=2.0, seed=3)
    whole = one.expand(2000, CLASSES)
    expected = torch.from_numpy(softmax(one.numpy() / temperature)).float()[0]
    evenly = column(whole, 8, 0).softened(every_row(whole), temperature)[0].exp()
    top = one.topk(8).values / temperature
    again = torch.zeros(1, CLASSES).scatter(1, one.topk(8).indices, top.softmax(1))[0]
    others = min(float((each - expected).abs().sum()) for each in (evenly, again))

    def error() -> float:
        _, weights = column(whole, 8, 8).drawn(every_row(whole), temperature)
        return float((weights.mean(0) - expected).abs().sum())

    assert error() < 0.7 * others
    monkeypatch.setattr("workers.engine.data.top_k.rows.ESTIMATED", 1.0)
    assert error() < (0.002 if temperature == 2.0 else 0.4 * others)


def test_draws_depend_on_a_rows_number_and_epoch_and_not_on_the_blocks() -> None:
    whole = scores(rows=20)
    packing = TopKPacking(CLASSES, 8, 4)
    numbers, indices = packing.pack(whole, 0)
    parts = [packing.pack(part, first) for first, part in zip((0, 7, 14), torch.split(whole, 7), strict=True)]
    assert torch.equal(indices, torch.cat([part for _, part in parts]))
    assert torch.equal(numbers, torch.cat([part for part, _ in parts]))
    _, later = TopKPacking(CLASSES, 8, 4, epoch=1).pack(whole, 0)
    assert torch.equal(indices[:, :8], later[:, :8])
    assert not torch.equal(indices, later)


def test_the_probability_of_a_class_that_is_not_stored_is_an_even_share_of_the_rest() -> None:
    """So that the loss of a teacher on labels is finite, and no better than what is known of it."""
    whole = scores()
    kept = column(whole, 8, 0)
    log_p = kept.stored.at(torch.arange(50))
    top = whole.topk(8, dim=1).indices
    rest = softmax(whole.numpy())
    np.put_along_axis(rest, top.numpy(), 0.0, axis=1)
    expected = np.log(rest.sum(1) / (CLASSES - 8))
    missing = whole.argmin(1)[:, None]
    np.testing.assert_allclose(log_p.gather(1, missing)[:, 0].numpy(), expected, rtol=1e-4)


def test_classes_that_a_teacher_excludes_are_no_nan() -> None:
    whole = scores()
    whole[:, 20:] = -torch.inf
    log_p, weights = column(whole, 8, 4).drawn(every_row(whole), 2.0)
    assert bool(log_p.isfinite().all())
    torch.testing.assert_close(weights.sum(1), torch.ones(50))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(50))
