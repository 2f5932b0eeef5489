"""What networks cost where they will run: in torch and in ONNX Runtime on the CPU, side by side."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from app.contracts.reports.report import Latency, RuntimeCost, RuntimeName, ThreadsName
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.onnx_session import onnx_session
from workers.engine.common.threads import torch_threads
from workers.engine.evaluation.cost.latency import BATCH_SIZES, Pass, side_by_side
from workers.engine.evaluation.cost.measured import MeasuredFile, MeasuredNetwork
from workers.engine.evaluation.cost.peak_memory import peak_memory

_CPU = torch.device("cpu")
_BUDGET_SECONDS = 0.03
_LONGEST_SECONDS = 1.0
_COLD_STARTS = 3
_COLD_SECONDS = 0.2
_Timed = tuple[str, RuntimeName]
"""A party in a runtime."""
Costs = dict[str, dict[RuntimeName, RuntimeCost]]
"""By party and runtime."""


def measure(
    files: Sequence[MeasuredFile],
    networks: Sequence[MeasuredNetwork] = (),
    check_stop: Callable[[], None] = lambda: None,
) -> Costs:
    """The cost of every file and network. Small ones take well under a second together, and a process for each file.
    `check_stop` is called between them, and may raise.

    Sets the number of torch's threads, and restores it.
    """
    threads = all_threads()
    check_stop()
    memory = peak_memory(files)
    check_stop()
    cold = _cold_starts(files)
    times: dict[ThreadsName, dict[_Timed, dict[str, Latency]]] = {"1": _times(files, networks, 1, check_stop)}
    if threads > 1:
        times["all"] = _times(files, networks, threads, check_stop)
    costs: Costs = {}
    for party, runtime in times["1"]:
        latency = {name: each[party, runtime] for name, each in times.items()}
        costs.setdefault(party, {})[runtime] = RuntimeCost(latency=latency, threads=threads)
    for file in files:
        cost = costs[file.party]["onnxruntime"]
        extra = {"cold_start_ms": 1e3 * cold[file.party], "peak_memory_bytes": memory.get(file.party)}
        costs[file.party]["onnxruntime"] = cost.model_copy(update={**extra, "bytes": file.path.stat().st_size})
    return costs


def all_threads() -> int:
    """The most threads that times are measured with: one for each processor of this process."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Fault:
    """Why a file does not run."""

    message: str
    is_lasting: bool
    """Whether it would be the same with more memory."""


def fault_of(file: MeasuredFile) -> Fault | None:
    """Why a file does not run on its rows in both batch sizes; None where it does."""
    try:
        session = onnx_session(file.path, 1)
        for size in BATCH_SIZES:
            session.run(None, file.batch(size))
    except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
        reason = str(error).replace(str(file.path), "it").partition("\n")[0][:300]
        return Fault(f"it does not run on its own: {reason}", not is_out_of_memory(error))
    return None


def _times(
    files: Sequence[MeasuredFile], networks: Sequence[MeasuredNetwork], threads: int, check_stop: Callable[[], None]
) -> dict[_Timed, dict[str, Latency]]:
    """The times of each party and runtime by batch size."""
    passes: dict[tuple[_Timed, str], Pass] = {}
    for file in files:
        session = onnx_session(file.path, threads)
        for size in BATCH_SIZES:
            passes[(file.party, "onnxruntime"), str(size)] = partial(session.run, None, file.batch(size))
    for network in networks:
        for size in BATCH_SIZES:
            passes[(network.party, "torch"), str(size)] = partial(network.forward, network.batch(size))
    with torch_threads(threads), torch.no_grad():
        found = side_by_side(passes, _CPU, _BUDGET_SECONDS, _LONGEST_SECONDS, check_stop)
    times: dict[_Timed, dict[str, Latency]] = {}
    for (timed, batch), latency in found.items():
        times.setdefault(timed, {})[batch] = latency
    return times


def _cold_starts(files: Sequence[MeasuredFile]) -> dict[str, float]:
    """Seconds to create a session, the median of a few in turn; of one where that is slow."""
    import onnxruntime  # noqa: F401  (before the clock runs)

    seconds: dict[str, list[float]] = {file.party: [] for file in files}
    for _ in range(_COLD_STARTS):
        for file in files:
            if sum(seconds[file.party]) < _COLD_SECONDS:
                began = time.perf_counter()
                onnx_session(file.path, 1)
                seconds[file.party].append(time.perf_counter() - began)
    return {party: statistics.median(each) for party, each in seconds.items()}
