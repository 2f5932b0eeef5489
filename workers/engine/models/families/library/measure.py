"""What the API must know of a library's network: counted on the meta device, where nothing is computed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from app.contracts.problems import UserError
from app.contracts.specs.families.family import RowKind
from app.contracts.specs.families.huggingface_configs import SAMPLE_TYPES
from app.contracts.specs.families.library import (
    MOST_PARAMETERS,
    HuggingFace,
    ImageProcessing,
    LibraryArchitecture,
    MeasuredLayer,
    MeasuredTrunk,
    Timm,
    Torchvision,
)
from app.contracts.specs.families.structure import GroupKind
from workers.engine.models.families.library.packages import package, package_version
from workers.engine.models.families.library.trunks import LibraryTrunk, build_trunk, features_of, misfit, on_meta
from workers.engine.models.quantization.layers import computes_as_torch, layers_of
from workers.engine.models.taps import tensor_of

MOST_LAYERS = 256
_TRIAL_ROWS = 2
"""Rows of a trial: BatchNorm takes no single row in training where its maps have one place."""
_CONTAINERS = (nn.Sequential, nn.ModuleList)
_LEAVES: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    ((nn.Conv1d, nn.Conv2d), "conv"),
    ((nn.Linear,), "linear"),
    ((nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm), "norm"),
)


def measure(architecture: LibraryArchitecture, input_shape: Sequence[int]) -> MeasuredTrunk:
    """Measure the trunk for images of `input_shape` [C, H, W], or rows of tokens [L].

    Raises UserError `library_missing`, `unknown_network`, `network_misfit`, `network_too_large`.
    """
    built = on_meta(lambda: build_trunk(architecture, input_shape))
    # The counter of operations cannot follow parameters that a layer is called with, as in DeBERTa, with gradients.
    module, name = built.module.requires_grad_(False), architecture.name
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if parameters > MOST_PARAMETERS:
        raise UserError(
            "network_too_large", f"`{name}` has {parameters} parameters, {MOST_PARAMETERS} at most: use a smaller one"
        )
    # Some constructors make single parameters on the CPU whatever the device is.
    on_host = any(True for _ in module.parameters()) and not any(each.is_meta for each in module.parameters())
    device = torch.device("cpu" if on_host else "meta")
    shapes, calls, counter = _Shapes(module), _Calls(module), FlopCounterMode(display=False)
    try:
        with shapes.recorded(), counter, torch.no_grad():
            features = features_of(module.eval(), _rows(built, 1, input_shape, device), architecture)
        with calls.recorded(), torch.no_grad():
            trained = features_of(module.train(), _rows(built, _TRIAL_ROWS, input_shape, device), architecture)
    except Exception as error:  # of whatever kind: this is how networks refuse the size of rows
        raise misfit(name, input_shape, error) from error
    size = _feature_size(features, trained, architecture.reads, of_tokens=_answers_tokens(architecture))
    if size is None:
        raise UserError("network_misfit", f"`{name}` gives no vector of features for a row: use another network")
    kinds = [kind for each in module.modules() if (kind := _leaf_kind(each)) is not None]
    return MeasuredTrunk(
        library=package_version(architecture.family),
        features=size,
        parameters=parameters,
        flops=int(counter.get_total_flops()),
        depth=sum(kind in ("conv", "linear") for kind in kinds),
        normalized="norm" in kinds,
        classifier=built.classifier,
        arguments=dict(built.arguments),
        layers=tuple(each for each in shapes.layers() if not _is_series(module, architecture, each))[:MOST_LAYERS],
        processing=_processing(architecture),
        unroundable=calls.unroundable,
        vocabulary=built.vocabulary,
        padding=built.padding,
    )


def _rows(built: LibraryTrunk, count: int, input_shape: Sequence[int], device: torch.device) -> Tensor:
    """Rows of zeros, or of tokens that are no padding [count, *input_shape]."""
    token = 0 if built.padding is None else (built.padding + 1) % (built.vocabulary or 1)
    return torch.full((count, *input_shape), float(token), device=device)


def _answers_tokens(architecture: LibraryArchitecture) -> bool:
    return isinstance(architecture, HuggingFace) and architecture.answers == "tokens"


def _feature_size(features: Any, trained: Any, reads: RowKind, *, of_tokens: bool) -> int | None:
    if not isinstance(features, Tensor) or not isinstance(trained, Tensor) or features.dim() < 2:
        return None
    if reads == "tokens" and features.dim() != 2 + of_tokens:  # a vector for each token where one a row is meant
        return None
    size = features[0, 0].numel() if of_tokens else features[0].numel()
    return size if trained.shape == (_TRIAL_ROWS, *features.shape[1:]) and size > 0 else None


def _is_series(module: nn.Module, architecture: LibraryArchitecture, layer: MeasuredLayer) -> bool:
    """Whether a layer of a network of samples is [channels, length], which looks like places with a vector each."""
    if architecture.name not in SAMPLE_TYPES:
        return False
    parts = module.get_submodule(layer.name.removeprefix("trunk.")).modules()
    return any(isinstance(each, nn.Conv1d) for each in parts)


def _leaf_kind(module: nn.Module) -> str | None:
    """`conv`, `linear` or `norm`; None for other modules."""
    if _is_transposed_linear(module):
        return "linear"
    return next((kind for classes, kind in _LEAVES if isinstance(module, classes)), None)


def _is_transposed_linear(module: nn.Module) -> bool:
    """Whether it is the linear layer of GPT-2, which transformers calls Conv1D and no code for torch's layers knows."""
    return (type(module).__module__, type(module).__name__) == ("transformers.pytorch_utils", "Conv1D")


class _Calls:
    """Which convolutions and linear layers a training pass calls.

    Libraries also use the weights of layers that they do not call (attention of torch, shifted windows of torchvision),
    and have layers that change their weight or their input (standardised weights, padding as TensorFlow has it).
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = layers_of(module)
        self._transposed = [name for name, each in module.named_modules() if _is_transposed_linear(each)]
        self._called: set[str] = set()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the calls of a forward pass."""
        handles = [each.register_forward_hook(self._hook(name)) for name, each in self._layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, inputs: object, output: object) -> None:
            self._called.add(name)

        return keep

    @property
    def unroundable(self) -> str | None:
        """The first layer whose arithmetic is not known by its weight and input."""
        unknown = (
            name for name, each in self._layers.items() if name not in self._called or not computes_as_torch(each)
        )
        return next(chain(self._transposed, unknown), None)


class _Shapes:
    """The shapes of the outputs of layers that can be tapped, in the order in which data pass them.

    These are the stages and blocks (entries of lists, and top-level sequences) and the top-level convolutions,
    linear layers and normalisations.
    """

    def __init__(self, module: nn.Module) -> None:
        self._kinds = dict(self._found(module))
        self._modules = {name: module.get_submodule(name) for name in self._kinds}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def _found(self, module: nn.Module) -> Iterator[tuple[str, GroupKind | str]]:
        for name, each in module.named_modules():
            if not name or isinstance(each, nn.ModuleList):
                continue
            parent, _, last = name.rpartition(".")
            kind = _leaf_kind(each)
            if parent == "" and (kind is not None or isinstance(each, nn.Sequential)):
                yield name, kind or "stage"
            elif last.isdigit() and kind is None and any(True for _ in each.children()):
                is_block = isinstance(module.get_submodule(parent), _CONTAINERS) and not isinstance(each, nn.Sequential)
                yield name, "block" if is_block else "stage"

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the shapes of a forward pass of one row."""
        handles = [module.register_forward_hook(self._hook(name)) for name, module in self._modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: object, outputs: object) -> None:
            output = tensor_of(outputs)
            if isinstance(output, Tensor) and output.dim() >= 2 and len(output) == 1:
                self._shapes[name] = tuple(output.shape[1:])
            else:
                self._shapes.pop(name, None)

        return keep

    def _own_parameters(self, name: str) -> int:
        """Those of a layer that are in no listed layer inside it."""
        inner = [other for other in self._shapes if other.startswith(f"{name}.")]
        listed = {id(each) for other in inner for each in self._modules[other].parameters()}
        return sum(each.numel() for each in self._modules[name].parameters() if id(each) not in listed)

    def layers(self) -> tuple[MeasuredLayer, ...]:
        """The layers whose outputs are tensors with rows first."""
        return tuple(
            MeasuredLayer.model_validate(
                {
                    "name": f"trunk.{name}",
                    "kind": self._kinds[name],
                    "shape": shape,
                    "parameters": self._own_parameters(name),
                }
            )
            for name, shape in self._shapes.items()
            if len(shape) <= 4
        )


def _processing(architecture: LibraryArchitecture) -> ImageProcessing | None:
    """What the library's own weights of this name expect; nothing is published under a type of transformers."""
    match architecture:
        case Timm():
            return _timm_processing(architecture.name)
        case Torchvision():
            return _torchvision_processing(architecture.name)
        case HuggingFace():
            return None
        case _:
            assert_never(architecture)


def _timm_processing(name: str) -> ImageProcessing | None:
    found = package("timm").data.resolve_data_config(
        pretrained_cfg=package("timm").models.get_pretrained_cfg(name).to_dict()
    )
    _, *size = found["input_size"]
    return ImageProcessing(
        size=(size[0], size[1]),
        mean=tuple(map(float, found["mean"])),
        std=tuple(map(float, found["std"])),
        interpolation=str(found["interpolation"]),
        crop=float(found["crop_pct"]),
    )


def _torchvision_processing(name: str) -> ImageProcessing | None:
    found = package("torchvision").models.get_model_weights(name)
    published = next(iter(found), None)
    if published is None:
        return None
    transforms = published.transforms()
    (side,), (resized,) = transforms.crop_size, transforms.resize_size
    return ImageProcessing(
        size=(side, side),
        mean=tuple(map(float, transforms.mean)),
        std=tuple(map(float, transforms.std)),
        interpolation=str(transforms.interpolation.value),
        crop=side / resized,
    )
