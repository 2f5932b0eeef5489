"""What files and networks cost in ONNX Runtime and torch. No figure of time decides a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from tests.engine.jobs.inspection.onnx_graphs import graph, value
from workers.engine.evaluation.cost import peak_memory, probes, runtime
from workers.engine.evaluation.cost.measured import MeasuredFile, MeasuredNetwork
from workers.engine.evaluation.cost.runtime import fault_of, measure

WIDTHS = {"student": 8, "teacher": 1500}


def write(path: Path, width: int) -> None:
    """A graph of two layers of this width over six numbers."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    weights = {"w": np.ones((6, width), np.float32), "v": np.ones((width, width), np.float32)}
    made = graph(*nodes, inputs=[value("x", ["n", 6])], outputs=[value("y", ["n", width])], weights=weights)
    path.write_bytes(made.SerializeToString())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MeasuredFile]:
    folder = tmp_path_factory.mktemp("files")
    rows = {"x": np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)}
    for party, width in WIDTHS.items():
        write(folder / f"{party}.onnx", width)
    return {party: MeasuredFile(party, folder / f"{party}.onnx", rows) for party in WIDTHS}


def test_each_file_and_network_has_times_for_both_batches_with_one_thread_and_with_all(
    files: dict[str, MeasuredFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    before = torch.get_num_threads()
    threads: list[int] = []
    network = torch.nn.Linear(6, 3)

    def forward(x: torch.Tensor) -> object:
        threads.append(torch.get_num_threads())
        assert not torch.is_grad_enabled()
        return network(x)

    found = measure(list(files.values()), [MeasuredNetwork("student", forward, torch.zeros(2, 6))])
    assert {party: set(costs) for party, costs in found.items()} == {
        "student": {"onnxruntime", "torch"},
        "teacher": {"onnxruntime"},
    }
    for costs in found.values():
        for cost in costs.values():
            assert cost.threads == 2
            assert {name: set(times) for name, times in cost.latency.items()} == {"1": {"1", "64"}, "all": {"1", "64"}}
            for times in cost.latency.values():
                assert all(0.0 < each.median_ms <= each.p95_ms for each in times.values())
    assert set(threads) == {1, 2}
    assert torch.get_num_threads() == before


def test_a_file_has_its_size_and_the_time_to_load_it(files: dict[str, MeasuredFile]) -> None:
    found = measure(list(files.values()))
    for party, file in files.items():
        cost = found[party]["onnxruntime"]
        assert cost.bytes == file.path.stat().st_size
        assert cost.cold_start_ms is not None
        assert cost.cold_start_ms > 0.0


def test_a_machine_with_one_processor_has_times_with_one_thread_alone(
    files: dict[str, MeasuredFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    cost = measure([files["student"]])["student"]["onnxruntime"]
    assert (set(cost.latency), cost.threads) == ({"1"}, 1)


def test_peak_memory_is_that_of_the_file_in_a_process_of_its_own(files: dict[str, MeasuredFile]) -> None:
    """Nine megabytes of weights are seen, and none of what this process holds."""
    held = np.ones(40_000_000)
    found = peak_memory.peak_memory(list(files.values()))
    more = files["teacher"].path.stat().st_size - files["student"].path.stat().st_size
    assert more > 9_000_000
    assert found["teacher"] - found["student"] > 0.8 * more
    assert found["student"] < held.nbytes / 4


def test_text_and_several_inputs_are_measured_and_a_file_that_does_not_load_has_no_memory(tmp_path: Path) -> None:
    encoder = helper.make_node(
        "LabelEncoder", ["words"], ["places"], domain="ai.onnx.ml", keys_strings=["red"], values_int64s=[7]
    )
    made = graph(
        encoder,
        helper.make_node("Identity", ["x"], ["y"]),
        inputs=[value("words", ["n", 2], TensorProto.STRING), value("x", ["n", 6])],
        outputs=[value("places", ["n", 2], TensorProto.INT64), value("y", ["n", 6])],
    )
    (tmp_path / "words.onnx").write_bytes(made.SerializeToString())
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    rows = {"words": np.array([["red", "2"], ["blue", "?"]], object), "x": np.zeros((2, 6), np.float32)}
    words = MeasuredFile("words", tmp_path / "words.onnx", rows)
    broken = MeasuredFile("broken", tmp_path / "broken.onnx", rows)
    assert set(peak_memory.peak_memory([words, broken])) == {"words"}
    assert fault_of(words) is None
    fault = fault_of(broken)
    assert fault is not None
    assert "it does not run on its own" in fault.message
    assert fault.is_lasting
    assert set(measure([words])["words"]["onnxruntime"].latency["1"]) == {"1", "64"}


def test_a_file_for_which_memory_ran_out_may_run_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(runtime, "onnx_session", fails)
    fault = fault_of(MeasuredFile("large", tmp_path / "large.onnx", {}))
    assert fault is not None
    assert not fault.is_lasting


def test_a_process_that_measures_for_another_starts_a_bounded_number_of_processes(tmp_path: Path) -> None:
    """Trap: a graph that asks for a thousand."""
    marker = tmp_path / "started"
    program = [sys.executable, "-m", probes.__name__, "/bin/sh", "-c", f"echo >> {marker}; echo 7"]

    def answers(pairs: int) -> tuple[str, int]:
        asked = json.dumps([["file", "rows"]] * pairs) + "\n"
        done = subprocess.run(program, input=asked, capture_output=True, text=True, check=False)
        return done.stdout, done.returncode

    assert answers(2) == ("[7, 7]\n", 0)
    assert answers(65) == ("", 1)
    assert marker.read_text() == "\n\n"
