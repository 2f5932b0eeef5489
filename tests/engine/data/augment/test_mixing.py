"""Mixup, cutmix and partners: the formula, λ's distribution, and that λ says what is seen of either row."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.engine.data.augment.images import MANY, ROWS, SPLIT, look, pictures, views_of
from workers.engine.data.augment import AugmentedInputs, MixingPartners, augment

CUTMIX = views_of({"kind": "cutmix"})


def mixed(found: AugmentedInputs) -> tuple[Tensor, Tensor, Tensor]:
    assert found.partner is not None
    assert found.share is not None
    return found.x, found.partner, found.share


def no_inputs(rows: Tensor) -> Tensor:
    raise AssertionError("the inputs of partners are not asked for here")


def test_mixup_is_the_weighted_mean_of_a_row_and_its_partner() -> None:
    data = pictures()
    x, partner, share = mixed(look(data, SPLIT, views_of({"kind": "mixup", "alpha": 0.7})))
    for i, (row, other) in enumerate(zip(SPLIT.tolist(), partner.tolist(), strict=True)):
        weight = float(share[i])
        written = weight * data[row].double().numpy() + (1.0 - weight) * data[other].double().numpy()
        np.testing.assert_allclose(x[i], written, rtol=3e-7)
    assert float((x - data[SPLIT]).abs().max()) > 1.0


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_lambda_is_beta_distributed_and_each_row_has_its_own(alpha: float) -> None:
    data, views = torch.zeros(ROWS, 1), views_of({"kind": "mixup", "alpha": alpha})
    shares = torch.cat([mixed(look(data, SPLIT, views, epoch))[2] for epoch in range(60)]).double().numpy()
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1.0 / (4.0 * (2.0 * alpha + 1.0)), rel=0.05)
    by_epoch = shares.reshape(60, -1)
    assert abs(np.corrcoef(by_epoch[:-1].ravel(), by_epoch[1:].ravel())[0, 1]) < 5.0 / shares.size**0.5


def test_cutmix_shows_a_box_of_the_partner_and_its_share_is_that_of_the_pixels() -> None:
    data = pictures()
    sizes = set()
    for epoch in range(4):
        x, partner, share = mixed(look(data, SPLIT, CUTMIX, epoch))
        for i, (row, other) in enumerate(zip(SPLIT.tolist(), partner.tolist(), strict=True)):
            pasted = (x[i] == data[other]).numpy()
            kept = (x[i] == data[row]).numpy()
            np.testing.assert_array_equal(pasted, ~kept)
            np.testing.assert_array_equal(pasted, np.broadcast_to(pasted[0], pasted.shape))
            rows, columns = np.nonzero(pasted[0].any(1))[0], np.nonzero(pasted[0].any(0))[0]
            height, width = len(rows), len(columns)
            if height:
                assert rows[-1] - rows[0] + 1 == height
                assert columns[-1] - columns[0] + 1 == width
            assert int(pasted[0].sum()) == height * width
            assert float(share[i]) == np.float32(1.0 - height * width / 120.0)
            sizes.add((height, width))
    assert len(sizes) > 40


def mean_span(cut: int, length: int) -> float:
    """Pixels of an axis that a side of `cut` pixels covers, over all centres."""
    return float(np.mean([min(c - cut // 2 + cut, length) - max(c - cut // 2, 0) for c in range(length)]))


def test_boxes_of_cutmix_have_the_sides_of_the_paper_and_uniform_centres() -> None:
    """λ uniform, sides ⌊H√(1−λ)⌋ and ⌊W√(1−λ)⌋ of the same λ, clipped at the edge: the mean share, written out."""
    height, width = 16, 6
    data = torch.zeros(ROWS, 1, height, width)
    shares = torch.cat([mixed(look(data, SPLIT, CUTMIX, epoch))[2] for epoch in range(100)]).double().numpy()
    scales = np.sqrt((np.arange(4_000) + 0.5) / 4_000)
    areas = [mean_span(int(height * scale), height) * mean_span(int(width * scale), width) for scale in scales]
    expected = 1.0 - np.mean(areas) / (height * width)
    assert shares.mean() == pytest.approx(expected, abs=4 * shares.std() / shares.size**0.5)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_rows_that_are_not_mixed_are_seen_as_they_are_with_a_share_of_1(kind: str) -> None:
    data = pictures()
    never = look(data, SPLIT, views_of({"kind": kind, "alpha": 1.0, "probability": 0.0}))
    assert torch.equal(mixed(never)[0], data[SPLIT])
    assert torch.equal(mixed(never)[2], torch.ones(len(SPLIT)))
    some = views_of({"kind": kind, "alpha": 1.0, "probability": 0.4})
    untouched = [(look(data, SPLIT, some, epoch).x == data[SPLIT]).flatten(1).all(1) for epoch in range(10)]
    share = float(torch.cat(untouched).float().mean())
    assert 0.5 < share < 0.75


def test_the_partner_is_mixed_in_as_it_is_seen_itself() -> None:
    """A row's place in a batch and its role change nothing: plain(row) and plain(partner) are mixed."""
    data = pictures()
    x, partner, share = mixed(look(data, SPLIT, views_of(*MANY), epoch=2))
    plain = views_of(*MANY[:-1])
    own, other = look(data, SPLIT, plain, epoch=2).x, look(data, partner, plain, epoch=2).x
    weight = share[:, None, None, None]
    assert torch.equal(x, own * weight + other * (1.0 - weight))


@pytest.mark.parametrize("size", [2, 3, 149, 150])
def test_every_row_is_the_partner_of_one_other_row_in_each_epoch(size: int) -> None:
    """All rows stand in one circle: from partner to partner one comes round after all of them."""
    split = SPLIT[:size]
    partners = MixingPartners(split, no_inputs)
    for epoch in range(5):
        row, met = split[:1], set()
        while int(row) not in met:
            met.add(int(row))
            row = partners.of(row, 0, epoch)
        assert met == set(split.tolist())
        assert int(row) == int(split[0])


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_another_epoch_and_another_seed_give_other_partners(seed: int, epoch: int) -> None:
    partners = MixingPartners(SPLIT, no_inputs)
    assert float((partners.of(SPLIT, 0, 0) == partners.of(SPLIT, seed, epoch)).float().mean()) < 0.1


def test_all_other_rows_come_equally_often_as_partners() -> None:
    split = torch.tensor([3, 4, 8, 15, 16, 23])
    partners = MixingPartners(split, no_inputs)
    counts = torch.zeros(24, dtype=torch.int64)
    for epoch in range(3_000):
        counts += torch.bincount(partners.of(torch.tensor([8]), 0, epoch), minlength=24)
    assert int(counts[8]) == 0
    assert stats.chisquare(counts[[3, 4, 15, 16, 23]].numpy()).pvalue > 1e-4


def test_partners_do_not_depend_on_the_order_in_which_the_split_is_given() -> None:
    shuffled = SPLIT[torch.randperm(len(SPLIT), generator=torch.Generator().manual_seed(0))]
    rows = SPLIT[:30]
    assert torch.equal(
        MixingPartners(shuffled, no_inputs).of(rows, 0, 7), MixingPartners(SPLIT, no_inputs).of(rows, 0, 7)
    )


def test_a_split_of_one_row_mixes_it_with_itself() -> None:
    row = torch.tensor([5])
    assert MixingPartners(row, no_inputs).of(row, 0, 0).tolist() == [5]


@pytest.mark.parametrize("outside", [1, ROWS + 10])
def test_rows_outside_the_training_split_have_no_partner(outside: int) -> None:
    with pytest.raises(ValueError, match="training split"):
        MixingPartners(SPLIT, no_inputs).of(torch.tensor([2, outside]), 0, 0)


def test_mixing_without_partners_is_refused() -> None:
    with pytest.raises(ValueError, match="`cutmix` needs partners"):
        augment(torch.zeros(2, 1, 4, 4), torch.tensor([0, 2]), 0, CUTMIX)
