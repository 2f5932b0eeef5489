"""A view is a function of (views.seed, epoch, row), so that cached targets belong to it."""

import pickle
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.engine.data.augment.images import MANY, ROWS, SHAPE, SPLIT, TRANSFORMS, look, pictures, views_of
from workers.engine.data.augment import AugmentedInputs, MixingPartners, augment

LISTS: list[list[dict[str, Any]]] = [[transform] for transform in TRANSFORMS] + [MANY]
every = pytest.mark.parametrize("transforms", LISTS, ids=lambda listed: "+".join(each["kind"] for each in listed))


def same(found: AugmentedInputs, expected: AugmentedInputs, places: Tensor) -> bool:
    """Whether `found` is, bit for bit, what `expected` has at these places."""
    if not torch.equal(found.x, expected.x[places]):
        return False
    if expected.partner is None or expected.share is None:
        return found.partner is None and found.share is None
    assert found.partner is not None
    assert found.share is not None
    return torch.equal(found.partner, expected.partner[places]) and torch.equal(found.share, expected.share[places])


@every
def test_a_row_looks_the_same_in_every_batch(transforms: list[dict[str, Any]]) -> None:
    """Alone, in batches of any size and order, twice in one batch."""
    data, views = pictures(), views_of(*transforms)
    whole = look(data, SPLIT, views, epoch=3)
    order = torch.randperm(len(SPLIT), generator=torch.Generator().manual_seed(1))
    for size in (1, 2, 7, 64, len(SPLIT)):
        for places in torch.split(order, size):
            assert same(look(data, SPLIT[places], views, epoch=3), whole, places)
    twice = torch.tensor([4, 9, 4])
    assert same(look(data, SPLIT[twice], views, epoch=3), whole, twice)


@every
@pytest.mark.parametrize("change", ["epoch", "seed"])
def test_another_epoch_and_another_seed_give_another_view(transforms: list[dict[str, Any]], change: str) -> None:
    data = pictures()
    first = look(data, SPLIT, views_of(*transforms))
    other = look(data, SPLIT, views_of(*transforms, seed=int(change == "seed")), epoch=int(change == "epoch"))
    changed = (first.x != other.x).flatten(1).any(1)
    assert float(changed.float().mean()) > 0.4


@every
def test_a_view_does_not_depend_on_what_was_drawn_before(transforms: list[dict[str, Any]]) -> None:
    data, views = pictures(), views_of(*transforms)
    partners = MixingPartners(SPLIT, lambda asked: data[asked])
    rows = SPLIT[:20]
    fresh = augment(data[rows], rows, 5, views, partners)
    augment(data[rows], rows, 6, views, partners)
    torch.rand(3)
    assert same(augment(data[rows], rows, 5, views, partners), fresh, torch.arange(20))


@every
def test_no_global_generator_moves_and_the_input_stays_as_it_is(transforms: list[dict[str, Any]]) -> None:
    data = pictures()
    rows = SPLIT[:16]
    x, before = data[rows], data.clone()
    states = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    augment(x, rows, 2, views_of(*transforms), MixingPartners(SPLIT, lambda asked: data[asked]))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert pickle.dumps(np.random.get_state()) == states[2]
    assert torch.equal(x, before[rows])
    assert torch.equal(data, before)


def test_the_same_transform_at_another_place_draws_otherwise() -> None:
    """Were the draws alike, two flips would leave every picture as it is."""
    data = pictures()
    flip = {"kind": "flip"}
    once, twice = look(data, SPLIT, views_of(flip)).x, look(data, SPLIT, views_of(flip, flip)).x
    for seen, before in ((once, data[SPLIT]), (twice, once), (twice, data[SPLIT])):
        assert 0.3 < float((seen != before).flatten(1).any(1).float().mean()) < 0.7


def test_transforms_act_in_the_order_of_the_list() -> None:
    data = pictures()
    noise, cutout = {"kind": "noise", "std": 1.0}, {"kind": "cutout", "size": 6}
    blank_last = look(data, SPLIT, views_of(noise, cutout)).x
    noisy_last = look(data, SPLIT, views_of(cutout, noise)).x
    assert int((blank_last == 0.0).sum()) > 0
    assert int((noisy_last == 0.0).sum()) == 0


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_and_shape_are_kept_and_shares_are_float32(transforms: list[dict[str, Any]], dtype: torch.dtype) -> None:
    found = look(pictures().to(dtype), SPLIT[:9], views_of(*transforms))
    assert found.x.dtype == dtype
    assert found.x.shape == (9, *SHAPE)
    assert found.share is None or (found.share.dtype == torch.float32 and found.share.shape == (9,))
    assert found.partner is None or (found.partner.dtype == torch.int64 and found.partner.shape == (9,))


@every
def test_everything_happens_on_the_device_of_the_input(transforms: list[dict[str, Any]]) -> None:
    """On the meta device an operation with a tensor left behind on the host raises."""
    x = torch.empty((9, *SHAPE), device="meta")
    partners = MixingPartners(SPLIT, lambda asked: torch.empty((len(asked), *SHAPE), device="meta"))
    found = augment(x, SPLIT[:9], 0, views_of(*transforms), partners)
    assert found.x.device.type == "meta"
    assert found.x.shape == x.shape
    assert found.share is None or found.share.device.type == "meta"
    assert found.partner is None or found.partner.device.type == "cpu"


@pytest.mark.gpu
@every
def test_host_and_gpu_see_the_same_bits(transforms: list[dict[str, Any]]) -> None:
    data, views = pictures() / 7.0, views_of(*transforms)
    there = data.to("cuda")
    found = augment(there[SPLIT], SPLIT, 1, views, MixingPartners(SPLIT, lambda asked: there[asked]))
    expected = look(data, SPLIT, views, epoch=1)
    assert torch.equal(found.x.cpu(), expected.x)
    if expected.share is not None and found.share is not None:
        assert torch.equal(found.share.cpu(), expected.share)


@every
def test_memory_that_is_not_contiguous_and_a_batch_without_rows_do_no_harm(transforms: list[dict[str, Any]]) -> None:
    data, views = pictures(), views_of(*transforms)
    last = data.contiguous(memory_format=torch.channels_last)
    assert same(look(last, SPLIT[:5], views), look(data, SPLIT[:5], views), torch.arange(5))
    assert look(data, SPLIT[:0], views).x.shape == (0, *SHAPE)


@pytest.mark.parametrize("shape", [(7,), (5, 4)])
def test_flat_rows_take_noise_and_mixup(shape: tuple[int, ...]) -> None:
    data = torch.randn((ROWS, *shape), generator=torch.Generator().manual_seed(2))
    views = views_of({"kind": "noise", "std": 0.1}, {"kind": "mixup", "alpha": 1.0})
    whole = look(data, SPLIT, views)
    assert whole.x.shape == (len(SPLIT), *shape)
    assert same(look(data, SPLIT[3:4], views), whole, torch.tensor([3]))


def test_importing_the_views_runs_no_operation_of_torch() -> None:
    """Children are forked from a process that has imported the engine and never computed."""
    watched = """
import torch
from torch.utils._python_dispatch import TorchDispatchMode

class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        raise SystemExit(f"ran {function}")

with Watch():
    import workers.engine.data.augment
"""
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
