"""Teachers: trained models that map raw rows to outputs; their weights and buffers never change."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import MapOutput, OutputSpec
from app.contracts.wire.orders import ModelInput
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.threads import torch_threads
from workers.engine.data.quality.one_score import two_scores
from workers.engine.data.rows.joined import InputLayout
from workers.engine.models.build import build
from workers.engine.models.families.map_head import as_positions
from workers.engine.models.loading import load_weights
from workers.engine.models.network import Network
from workers.engine.models.onnx_graph import OnnxGraph
from workers.engine.models.taps import TappedLayer, Taps, compared_layer
from workers.engine.teachers.reading import Reading, feeds_of


class Teacher(Protocol):
    """A trained model, always in evaluation mode and without gradients."""

    @property
    def name(self) -> str:
        """The model's name in its manifest."""
        ...

    @property
    def sha256(self) -> str:
        """SHA-256 of its weights file."""
        ...

    @property
    def outputs(self) -> Mapping[str, OutputFacts]:
        """Its outputs by name."""
        ...

    @property
    def parameters(self) -> int | None:
        """Number of parameters; None where unknown."""
        ...

    @property
    def bytes(self) -> int:
        """Size of its weights file in bytes."""
        ...

    @property
    def row_dtype(self) -> torch.dtype:
        """In which rows are transformed: float64 for graphs of a type with numbers that float32 lacks."""
        ...

    @property
    def tokens(self) -> int | None:
        """Tokens of each row that it reads, for a model of texts and rows of a dataset."""
        ...

    @property
    def encoding(self) -> TokenEncoding | None:
        """What the ids are that it reads of the rows of a dataset, for a model of texts."""
        ...

    @property
    def network(self) -> Network | None:
        """The torch module, for models of a known architecture; None for ONNX graphs."""
        ...

    def prepare(self, raw: Tensor) -> Tensor:
        """Raw rows [n, …] of the dataset -> what `forward` takes, on the device: the inputs that it reads, each after
        its transform, several concatenated to [n, numbers].
        """
        ...

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Transformed rows [n, …] -> {output: [n, size] float32 on the device}."""
        ...

    def predict(self, raw: Tensor, layers: Sequence[TappedLayer] = ()) -> dict[str, Tensor]:
        """Raw rows [n, …] -> {output: [n, size] float32 on the device}, and `layers`, pooled and flattened, by
        `layer_key`.
        """
        ...


class _TeacherBase:
    """Shared parts of both kinds of teacher: facts of the model, transform, check of its outputs."""

    def __init__(self, model: ModelInput, device: torch.device, layout: InputLayout | None) -> None:
        assert model.facts is not None
        self._reading = Reading.of(model.facts, layout)
        self.name = model.manifest.name
        self.sha256 = model.sha256
        self.outputs: Mapping[str, OutputFacts] = model.facts.outputs
        self.parameters = model.facts.parameters
        self.bytes = Path(model.path).stat().st_size
        self.row_dtype = torch.float32
        self.tokens = self._reading.tokens
        self.encoding = self._reading.encoding
        self._device = device

    def prepare(self, raw: Tensor) -> Tensor:
        return self._reading.prepare(raw.to(self._device), self.row_dtype)

    def _predict(self, raw: Tensor, forward: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
        outputs = forward(self.prepare(raw))
        for name, values in outputs.items():
            if not bool(values.isfinite().all()):
                raise UserError(
                    "teacher_not_finite",
                    f"output `{name}` of teacher `{self.name}` is NaN or infinite for rows of this dataset: check "
                    "the scale that its `inputs` expect",
                )
        return outputs


class NetworkTeacher(_TeacherBase):
    """A torch network of a known architecture."""

    def __init__(
        self, model: ModelInput, device: torch.device, threads: int, layout: InputLayout | None = None
    ) -> None:
        super().__init__(model, device, layout)
        assert model.facts is not None
        assert model.facts.architecture is not None
        self._threads = threads
        network = build(model.facts.architecture)
        network.load_state_dict(load_weights(Path(model.path), model.manifest, model.facts.architecture))
        self.network: Network = network.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: values.float() for name, values in self.network(x).items()}

    def predict(self, raw: Tensor, layers: Sequence[TappedLayer] = ()) -> dict[str, Tensor]:
        taps = Taps(self.network, [each.name for each in layers])

        def forward(x: Tensor) -> dict[str, Tensor]:
            outputs, kept, tokens = self.forward(x), taps.take(), self.network.is_token(x)
            return outputs | _flat({each: compared_layer(kept[each.name], each.pool, tokens) for each in layers})

        try:
            with torch_threads(self._threads):
                return self._predict(raw, forward)
        finally:
            taps.close()


class OnnxTeacher(_TeacherBase):
    """An ONNX graph, run by ONNX Runtime."""

    network = None

    def __init__(
        self,
        model: ModelInput,
        device: torch.device,
        threads: int,
        layout: InputLayout | None = None,
        graph: OnnxGraph | None = None,
    ) -> None:
        """`graph`: its own one where it is loaded already: the open sides of its inputs may differ by layout."""
        super().__init__(model, device, layout)
        assert model.facts is not None
        self._path = Path(model.path)
        self._threads = threads
        self._feeds = feeds_of(model.facts, self._reading)
        self._names = model.facts.graph_outputs
        self._graph = OnnxGraph(self._path, threads) if graph is None else copy.copy(graph)
        self._graph.feeds = self._feeds
        self.row_dtype = self._graph.row_dtype
        self._with_layers: tuple[tuple[str, ...], OnnxGraph] | None = None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The graph's outputs, as the inspection has matched them to the manifest's."""
        return self._named(self._run(self._graph, x), len(x))

    def fed(self, raw: Tensor) -> dict[str, NDArray[np.generic]] | None:
        """Raw rows [n, …] of the dataset -> what the inputs of the graph are fed with [n, …]; None where they do not
        grow with the batch.
        """
        if self._graph.fixed_batch is not None or self._graph.feeds.constants:
            return None
        return self._graph.fed(self.prepare(raw).cpu().numpy())

    def _run(self, graph: OnnxGraph, x: Tensor) -> dict[str, NDArray[np.generic]]:
        try:
            return graph.run(x.cpu().numpy())
        except (UserError, MemoryError):
            raise
        except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
            if is_out_of_memory(error):
                raise MemoryError(f"the graph of teacher `{self.name}`, {len(x)} rows") from None
            message = str(error).replace(str(self._path), "it").partition("\n")[0][:300]
            raise UserError(
                "teacher_failed",
                f"the graph of teacher `{self.name}` fails on rows of this dataset, of shape {list(x.shape[1:])}: "
                f"{message}",
            ) from None

    def _named(self, arrays: dict[str, NDArray[np.generic]], rows: int) -> dict[str, Tensor]:
        if len(arrays) == 1 and len(self.outputs) == 1:
            arrays = {self._names.get(name, name): next(iter(arrays.values())) for name in self.outputs}
        named = {name: arrays[self._names.get(name, name)] for name in self.outputs}
        tensors = {name: torch.from_numpy(values).float() for name, values in named.items()}
        return {
            name: _in_network_form(self.outputs[name].spec, values, rows).to(self._device)
            for name, values in tensors.items()
        }

    def predict(self, raw: Tensor, layers: Sequence[TappedLayer] = ()) -> dict[str, Tensor]:
        if not layers:
            return self._predict(raw, self.forward)
        assert all(each.pool is None for each in layers), "the resolver refuses to pool layers of graphs"
        graph = self._graph_with(tuple(each.name for each in layers))

        def forward(x: Tensor) -> dict[str, Tensor]:
            arrays = self._run(graph, x)
            outputs = {name: arrays[name] for name in self._graph.output_names}
            return self._named(outputs, len(x)) | _flat({each: torch.from_numpy(arrays[each.name]) for each in layers})

        return self._predict(raw, forward)

    def _graph_with(self, layers: tuple[str, ...]) -> OnnxGraph:
        if self._with_layers is None or self._with_layers[0] != layers:
            self._with_layers = (layers, OnnxGraph(self._path, self._threads, layers, self._feeds))
        return self._with_layers[1]


def _in_network_form(spec: OutputSpec, values: Tensor, rows: int) -> Tensor:
    """An output of a graph [rows, …] as a network gives it: [rows, size], of maps [rows, pixels, classes]."""
    if isinstance(spec, MapOutput):
        return as_positions(values.reshape(rows, -1, *spec.shape))
    return two_scores(spec, values.reshape(rows, -1))


def layer_key(layer: TappedLayer) -> str:
    """The name of a teacher's layer among its outputs."""
    return f"layer:{layer.name}" if layer.pool is None else f"layer:{layer.name}:{layer.pool}"


def _flat(layers: Mapping[TappedLayer, Tensor]) -> dict[str, Tensor]:
    return {layer_key(layer): values.float().flatten(1) for layer, values in layers.items()}


def open_teacher(model: ModelInput, device: torch.device, threads: int, layout: InputLayout | None = None) -> Teacher:
    """Load a ready model as a teacher on `device`; `layout`: the inputs of the dataset's rows, None for a single one.

    Raises UserError where it does not read these inputs.
    """
    match model.manifest.format:
        case "onnx":
            return OnnxTeacher(model, device, threads, layout)
        case "safetensors" | "state_dict" | "huggingface":
            return NetworkTeacher(model, device, threads, layout)
        case _:
            assert_never(model.manifest.format)
