"""What autograd keeps is counted once while it is kept; what the host has is what the kernel says."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from workers.engine.common.memory import SavedTensors, host_available, is_out_of_memory, peak_bytes

GIB = 1 << 30


def linear_bytes(rows: int, *widths: int) -> int:
    """What a chain of linear layers with relu keeps of `rows` rows: its inputs, and each relu's output."""
    return 4 * rows * sum(widths)


def test_a_network_keeps_its_inputs_and_hidden_layers_and_not_its_weights() -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    saved = SavedTensors(network.parameters())
    with saved.hooks():
        loss = network(torch.ones(32, 6)).sum()
        assert saved.peak == linear_bytes(32, 6, 8, 5)
        loss.backward()
    assert saved.peak == linear_bytes(32, 6, 8, 5)


def test_what_one_backward_frees_is_not_added_to_the_next() -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    saved = SavedTensors(network.parameters())
    with saved.hooks():
        for rows in (16, 32, 8):
            network(torch.ones(rows, 6)).sum().backward()
    assert saved.peak == linear_bytes(32, 6, 8)


def test_graphs_that_live_at_once_are_added() -> None:
    networks = [nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2)]
    saved = SavedTensors(p for network in networks for p in network.parameters())
    x = torch.ones(32, 6)
    with saved.hooks():
        losses = [network(x).sum() for network in networks]
        torch.autograd.backward(torch.stack(losses).sum())
    assert saved.peak == linear_bytes(32, 6, 8, 8), "the rows are one tensor"


def test_a_graph_that_is_dropped_without_a_backward_is_let_go() -> None:
    saved = SavedTensors()
    with saved.hooks():
        for _ in range(3):
            _squared(torch.ones(100, requires_grad=True))
    assert saved.peak == 400


def _squared(x: Tensor) -> Tensor:
    return x.pow(2).sum()


def test_gradients_are_not_changed_by_being_watched() -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    x = torch.arange(12.0).reshape(2, 6)
    network(x).exp().sum().backward()
    plain = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    with SavedTensors(network.parameters()).hooks():
        network(x).exp().sum().backward()
    watched = [p.grad for p in network.parameters() if p.grad is not None]
    assert len(plain) == len(watched) == 4
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def kernel(folder: Path, available: int, limit: str = "max", anon: int = 0) -> tuple[Path, Path]:
    """The kernel's files, with these bytes in them."""
    (folder / "meminfo").write_text(f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: {available // 1024} kB\n")
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"anon {anon}\nfile 12\n")
    return folder / "meminfo", folder


def test_the_host_has_what_the_kernel_calls_available(tmp_path: Path) -> None:
    assert host_available(*kernel(tmp_path, 20 * GIB)) == 20 * GIB


def test_a_control_group_bounds_it(tmp_path: Path) -> None:
    assert host_available(*kernel(tmp_path, 20 * GIB, str(8 * GIB), anon=3 * GIB)) == 5 * GIB
    assert host_available(*kernel(tmp_path, 2 * GIB, str(8 * GIB))) == 2 * GIB


def test_without_a_source_it_is_unknown(tmp_path: Path) -> None:
    assert host_available(tmp_path / "meminfo", tmp_path) is None


def test_this_process_has_a_height_and_this_host_has_room() -> None:
    assert peak_bytes(torch.device("cpu")) > 1 << 20
    here = host_available()
    assert here is None or here > 0


def test_a_refused_allocation_is_distinguished_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
