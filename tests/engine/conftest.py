"""Fixtures of the engine's tests."""

import os
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness
from workers.engine.evaluation.cost import latency, runtime


@pytest.fixture
def harness(tmp_path: Path) -> EngineHarness:
    """Without data and models."""
    return EngineHarness(tmp_path)


@pytest.fixture
def one_thread_again() -> Iterator[None]:
    """A job sets the threads of its process."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def few_timed_passes() -> Iterator[None]:
    """A job times its networks at its end: without a warm-up and with few passes, and without the processes that
    measure memory, as no test looks at these figures.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_WARM_UP_SECONDS", 0.0)
        patch.setattr(latency, "_MAX_PASSES", 3)
        patch.setattr(runtime, "peak_memory", lambda files: {})
        yield


@pytest.fixture(scope="session", autouse=True)
def files_need_not_reach_the_disk() -> Iterator[None]:
    """What is written survives the death of its process without it, and no test ends the machine. That it is flushed in
    the right order is what tests/faults/disk sees in the system calls.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def operators_read_once() -> Iterator[None]:
    """torch.onnx.export parses the sources of all of its operators in each call, a second long, and looks all of
    torch's up 56 times: here once in a process.

    They are patched at the first export, as their import takes a second too.
    """
    export = torch.onnx.export
    with pytest.MonkeyPatch.context() as patch:

        @cache
        def read_once() -> None:
            _read_registry_once(patch)
            _look_operators_up_once(patch)

        def exported(*arguments: Any, **options: Any) -> Any:
            read_once()
            return export(*arguments, **options)

        patch.setattr(torch.onnx, "export", exported)
        yield


def _read_registry_once(patch: pytest.MonkeyPatch) -> None:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = cache(ONNXRegistry.from_torchlib)

    def registry(**options: Any) -> ONNXRegistry:
        """A copy, to which an export may add operators."""
        found = read(**options)
        made = ONNXRegistry()
        made._opset_version = found.opset_version
        made.functions = {target: list(known) for target, known in found.functions.items()}
        return made

    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(registry))


def _look_operators_up_once(patch: pytest.MonkeyPatch) -> None:
    """And again where a library has added some."""
    from torch._export import utils

    registered = partial(torch._C._dispatch_get_registrations_for_dispatch_key, "CompositeImplicitAutograd")
    look_all_up = utils._materialize_cpp_cia_ops
    look_up = cache(lambda operators: look_all_up())
    patch.setattr(utils, "_materialize_cpp_cia_ops", lambda: look_up(len(registered())))
