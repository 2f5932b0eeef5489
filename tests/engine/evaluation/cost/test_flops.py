"""FLOPs by torch's counter: closed forms, and nothing moved by counting."""

import pytest
import torch
from torch import nn

from workers.engine.common.eval_mode import evaluating
from workers.engine.evaluation.cost.flops import count_flops, parameter_count


def test_a_linear_layer_costs_two_operations_a_weight() -> None:
    network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 10))
    assert count_flops(network, torch.zeros(1, 10)) == 2 * (10 * 20 + 20 * 10)
    assert parameter_count(network) == 10 * 20 + 20 + 20 * 10 + 10


def test_a_convolution_costs_two_operations_a_weight_and_pixel() -> None:
    network = nn.Conv2d(3, 8, 3, padding=1)
    assert count_flops(network, torch.zeros(1, 3, 16, 16)) == 2 * 3 * 8 * 9 * 16 * 16


def test_counting_moves_no_running_statistics_and_no_mode() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    network[2].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_flops(network, torch.randn(1, 4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [module.training for module in network] == [True, True, False]


def test_more_than_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="one row"):
        count_flops(nn.Linear(2, 2), torch.zeros(2, 2))


def test_an_error_inside_gives_every_module_its_mode_back() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    with pytest.raises(RuntimeError, match="inside"), evaluating(network):
        assert not network.training
        assert not torch.is_grad_enabled()
        raise RuntimeError("inside")
    assert network.training
    assert torch.is_grad_enabled()
