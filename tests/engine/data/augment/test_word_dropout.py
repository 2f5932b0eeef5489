"""Word dropout: some tokens become another one, special tokens and padding never."""

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.engine.data.augment.images import views_of
from workers.engine.data.augment import augment, augmentation_key

PADDING, FIRST, LAST, MASK = 0, 1, 2, 3
VIEW: dict[str, Any] = {
    "kind": "word_dropout", "probability": 0.2, "token": MASK, "keep": [PADDING, FIRST, LAST, MASK]
}  # fmt: skip
ROWS = torch.arange(200)


def ids(width: int = 30) -> Tensor:
    """Float32 [200, width], as rows of tokens stand in a job: special ones at both ends, then padding."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(4, 5000, (len(ROWS), width), generator=draw)
    lengths = torch.randint(3, 20, (len(ROWS), 1), generator=draw)
    places = torch.arange(width)
    rows = rows.masked_fill(places == 0, FIRST).masked_fill(places == lengths, LAST)
    return rows.masked_fill(places > lengths, PADDING).float()


def look(data: Tensor, rows: Tensor = ROWS, epoch: int = 0, **changes: Any) -> Tensor:
    return augment(data[rows], rows, epoch, views_of(VIEW | changes)).x


def test_some_tokens_become_the_mask_and_special_ones_and_padding_stay() -> None:
    data = ids()
    seen, words = look(data), data >= 4
    assert seen.dtype == data.dtype
    assert torch.equal(seen[~words], data[~words])
    replaced = seen[words] == MASK
    assert torch.equal(seen[words][~replaced], data[words][~replaced])
    assert stats.binomtest(int(replaced.sum()), int(words.sum()), 0.2).pvalue > 1e-4


def test_tokens_are_drawn_each_by_itself() -> None:
    hidden = look(torch.full((200, 40), 9.0)) == MASK
    assert (
        abs(float(torch.corrcoef(torch.stack([hidden[:, :-1].flatten(), hidden[:, 1:].flatten()]).float())[0, 1]))
        < 0.06
    )
    assert int(hidden.any(0).sum()) == 40, "every place"


def test_a_row_looks_the_same_in_every_batch_and_in_rows_of_every_width() -> None:
    data = ids()
    whole = look(data, epoch=3)
    for places in torch.split(torch.randperm(200, generator=torch.Generator().manual_seed(1)), 7):
        assert torch.equal(look(data, places, epoch=3), whole[places])
    assert torch.equal(look(data[:, :21], epoch=3), whole[:, :21])
    assert torch.equal(data, ids()), "the input stays as it is"


def test_another_epoch_and_another_seed_replace_other_tokens_and_so_does_the_key() -> None:
    data, views = ids(), views_of(VIEW)
    other_seed = augment(data, ROWS, 0, views_of(VIEW, seed=1)).x
    assert not torch.equal(look(data), look(data, epoch=1))
    assert not torch.equal(look(data), other_seed)
    others = [views_of(VIEW | change) for change in ({"token": 7}, {"probability": 0.3}, {"keep": [PADDING]})]
    assert len({augmentation_key(each, 0) for each in [views, *others]}) == 4


def test_everything_happens_on_the_device_of_the_input() -> None:
    """On the meta device an operation with a tensor left behind on the host raises."""
    x = torch.empty((9, 30), device="meta")
    assert augment(x, ROWS[:9], 0, views_of(VIEW)).x.device.type == "meta"


@pytest.mark.gpu
def test_host_and_gpu_see_the_same_bits() -> None:
    data = ids()
    assert torch.equal(augment(data.to("cuda"), ROWS, 1, views_of(VIEW)).x.cpu(), look(data, epoch=1))


def test_without_the_id_that_replaces_nothing_is_guessed() -> None:
    with pytest.raises(ValueError, match="needs `token`"):
        look(ids(), token=None)
