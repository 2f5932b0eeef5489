"""Graphs of the passes of a network: used only where they give its bits, whatever recording them does."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.contracts.specs.architectures import Convnet
from tests.engine.harness import EngineHarness
from tests.engine.plain_training import plain_settings
from tests.engine.training.test_steps_on_a_gpu import distilled
from workers.engine.models import Network, build, initialise
from workers.engine.training.passes.cuda_graphs import GraphedForward, has_plain_passes
from workers.engine.training.passes.precision import Precision

CPU = torch.device("cpu")
Recording = Callable[..., nn.Module]


class Recorded(nn.Module):
    """What stands for a graph of a module; `error` is added to its outputs."""

    def __init__(self, module: nn.Module, error: float) -> None:
        super().__init__()
        self.module, self.error = module, error
        self.calls = 0

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        return tuple(output + self.error for output in self.module(x))


def network() -> Network:
    made = build(Convnet(family="convnet", channels=(4,), input_shape=(1, 6, 6), outputs={"a": 2, "b": 3}))
    initialise(made, 0)
    return made.train()


def forward_of(monkeypatch: pytest.MonkeyPatch, record: Recording) -> tuple[Network, GraphedForward]:
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    made = network()
    return made, GraphedForward(made, Precision(plain_settings(), CPU))


def recording(error: float, made: list[Recorded]) -> Recording:
    def record(module: nn.Module, sample: tuple[Tensor, ...], **settings: Any) -> nn.Module:
        for _ in range(3):  # as torch does, to warm up
            torch.autograd.backward([output.sum() for output in module(*sample)])
        made.append(Recorded(module, error))
        return made[-1]

    return record


def rows(count: int) -> Tensor:
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(count))


def test_a_graph_serves_rows_of_its_shape_and_recording_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Recorded] = []
    trained, forward = forward_of(monkeypatch, recording(0.0, made))
    plain = network()
    for count in (8, 8, 5, 8):
        found, expected = forward(rows(count)), plain(rows(count))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        assert trained.state_dict().keys() == plain.state_dict().keys()
        assert all(torch.equal(value, plain.state_dict()[name]) for name, value in trained.state_dict().items())
        assert all(parameter.grad is None for parameter in trained.parameters())
    assert made[0].calls == 1 + 3, "one check, and every batch of 8 rows"


@pytest.mark.parametrize("failure", ["other bits", "no recording"])
def test_a_network_runs_without_a_graph_that_is_wrong_or_cannot_be_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    def refuse(module: nn.Module, sample: tuple[Tensor, ...], **settings: Any) -> nn.Module:
        raise RuntimeError("operation not permitted when stream is capturing")

    made: list[Recorded] = []
    _, forward = forward_of(monkeypatch, refuse if failure == "no recording" else recording(1e-6, made))
    plain = network()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(forward(rows(8))["a"], plain(rows(8))["a"])
    reason = "operation not permitted" if failure == "no recording" else "its results differ"
    assert [reason in record.getMessage() for record in caplog.records] == [True], "told once"


def test_what_differs_from_step_to_step_has_no_graph() -> None:
    assert has_plain_passes(network(), plain_settings())
    assert not has_plain_passes(network(), plain_settings(micro_batch_size=4)), "a pass would overwrite the last"
    assert not has_plain_passes(network(), plain_settings(gradient_checkpointing=True))
    dropout = build(
        Convnet(family="convnet", channels=(4,), input_shape=(1, 6, 6), outputs={"a": 2}, hidden=(3,), dropout=0.5)
    )
    assert not has_plain_passes(dropout, plain_settings())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_graph_gives_a_student_the_bits_of_the_network_itself(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, memory_format: str, precision: str
) -> None:
    """600 rows in batches of 32: the last one of an epoch has fewer."""
    settings = {"memory_format": memory_format, "precision": precision}
    calls: list[bool] = []
    call = GraphedForward.__call__

    def watched(forward: GraphedForward, x: Tensor) -> dict[str, Tensor]:
        outputs = call(forward, x)
        calls.append(forward._graph is not None)
        return outputs

    monkeypatch.setattr(GraphedForward, "__call__", watched)
    distilled(harness, "graphed", **settings)
    assert calls
    assert all(calls)
    monkeypatch.setattr("workers.engine.training.learner.has_plain_passes", lambda *given: False)
    distilled(harness, "plain", **settings)
    assert harness.digest("graphed") == harness.digest("plain")
    assert harness.digest("graphed", role="control") == harness.digest("plain", role="control")
