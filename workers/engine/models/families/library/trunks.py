"""Trunks from the libraries: their networks with the classifier taken out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, assert_never

import torch
from torch import Tensor, nn

from app.contracts.problems import UserError
from app.contracts.specs.families.embeddings import Embedding
from app.contracts.specs.families.huggingface_configs import BAND_TYPES, SAMPLE_TYPES
from app.contracts.specs.families.layer_pairs import LayerPooling
from app.contracts.specs.families.library import HuggingFace, LibraryArchitecture, Timm, Torchvision
from workers.engine.models.families.library.huggingface import huggingface_network
from workers.engine.models.families.library.packages import package
from workers.engine.models.families.library.sounds import features_of_sounds
from workers.engine.models.families.library.tokens import features_of_tokens
from workers.engine.models.taps import compared_layer

_CLASSES = 7
"""Outputs of the classifier that is looked for; any number that no layer of a network has."""
_AUXILIARY = ("googlenet", "inception_v3")
"""Networks of torchvision with further classifiers, which are left out."""
T = TypeVar("T")


@dataclass(frozen=True)
class LibraryTrunk:
    """A network without its classifier: images [N, C, H, W], tokens [N, L] or sounds -> features [N, F]."""

    module: nn.Module
    classifier: str | None
    """Name of the linear layer that was taken out; None where the library took out a classifier of another kind."""
    arguments: Mapping[str, int | tuple[int, int] | bool]
    """What the library's constructor was called with, beside the number of classes."""
    vocabulary: int | None = None
    """Ids of tokens are below it; None where rows are no tokens."""
    padding: int | None = None
    """The id that fills rows of tokens up."""


def build_trunk(architecture: LibraryArchitecture, input_shape: Sequence[int]) -> LibraryTrunk:
    """Build the trunk of a network by its name; weights are drawn from torch's default generator.

    Raises UserError `library_missing`, `unknown_network`, `network_misfit`.
    """
    match architecture:
        case Timm():
            return _timm_trunk(architecture.name, input_shape)
        case Torchvision():
            return _torchvision_trunk(architecture.name, input_shape)
        case HuggingFace():
            network = huggingface_network(architecture, input_shape, _CLASSES)
            return _huggingface_trunk(network, architecture)
        case _:
            assert_never(architecture)


def features_of(module: nn.Module, rows: Tensor, architecture: LibraryArchitecture) -> Tensor:
    """What the head of a network reads: images [N, C, H, W], tokens [N, L], or sounds [N, 1, samples] or
    [N, 1, mels, frames] -> features, whatever the library wraps them in.
    """
    embedding = embedding_of(architecture)
    if isinstance(architecture, HuggingFace) and architecture.sound_rows is not None:
        return features_of_sounds(module, rows, architecture, architecture.sound_rows)
    match architecture.reads:
        case "numbers":
            found = module(rows)
            if embedding is not None:
                return _pooled_places(found.last_hidden_state, embedding.pooling)
            features: Tensor = found.logits if hasattr(found, "logits") else found
            return features
        case "tokens":
            return features_of_tokens(module, rows, embedding)
        case _:
            assert_never(architecture.reads)


def embedding_of(architecture: LibraryArchitecture) -> Embedding | None:
    """How an encoder makes one vector a row; None for networks with a classifier."""
    return architecture.embedding if isinstance(architecture, HuggingFace) else None


def _pooled_places(hidden: Tensor, pooling: LayerPooling) -> Tensor:
    """The vectors of an image, [N, T, D] or maps [N, D, H, W] -> [N, D]. Raises ValueError for others."""
    if hidden.dim() not in (3, 4) or (hidden.dim() == 4 and pooling == "first"):
        raise ValueError(f"its last layer of shape {list(hidden.shape[1:])} has no first token: use the mean")
    return compared_layer(hidden, pooling, None)


def on_meta(build: Callable[[], T]) -> T:
    """Build a module without memory for its weights; with it where its constructor computes with them."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # "Cannot copy out of meta tensor"
        return build()


def _timm_trunk(name: str, input_shape: Sequence[int]) -> LibraryTrunk:
    timm = package("timm")
    if not timm.is_model(name):  # false for `hf-hub:…` and `local-dir:…`, which would read other places
        raise _unknown("timm", name, timm.list_models(f"{name[:4]}*"))
    arguments: dict[str, int | tuple[int, int] | bool] = {"in_chans": input_shape[0]}
    if timm.models.get_pretrained_cfg(name).fixed_input_size:
        arguments["img_size"] = (input_shape[1], input_shape[2])
    with _misfits_named(name, input_shape):
        network = timm.create_model(name, pretrained=False, num_classes=_CLASSES, **arguments)
        classifier = _classifier(network)
        if classifier is not None:
            network.set_submodule(classifier, nn.Identity())
        else:
            network.reset_classifier(0)
    return LibraryTrunk(network, classifier, arguments)


def _torchvision_trunk(name: str, input_shape: Sequence[int]) -> LibraryTrunk:
    models = package("torchvision").models
    listed = models.list_models(module=models)
    if name not in listed:
        raise _unknown("torchvision", name, [each for each in listed if each[:4] == name[:4]])
    arguments: dict[str, int | tuple[int, int] | bool] = {}
    if name in _AUXILIARY:
        arguments = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_") and len(set(input_shape[1:])) == 1:
        arguments = {"image_size": input_shape[1]}
    with _misfits_named(name, input_shape):
        network = models.get_model(name, weights=None, num_classes=_CLASSES, **arguments)
    classifier = _classifier(network)
    if classifier is not None:
        network.set_submodule(classifier, nn.Identity())
    else:  # a convolution behind the features, as in squeezenet
        network.classifier = nn.AdaptiveAvgPool2d(1)
    return LibraryTrunk(network, classifier, arguments)


def _huggingface_trunk(network: Any, architecture: HuggingFace) -> LibraryTrunk:
    config, is_encoder = network.config, architecture.embedding is not None
    match architecture.reads:
        case "numbers":
            return _encoder(network) if is_encoder else _without_classifier(network, _classifier(network), {})
        case "tokens":
            found = _encoder(network) if is_encoder else _without_classifier(network, _only_classifier(network), {})
            return replace(found, vocabulary=config.vocab_size, padding=config.pad_token_id)
        case _:
            assert_never(architecture.reads)


def _encoder(network: nn.Module) -> LibraryTrunk:
    """A network that has no classifier, and no layer that makes a vector for one."""
    if getattr(network, "pooler", None) is not None:
        raise UserError(
            "network_misfit",
            f"a `{type(network).__name__}` has a layer behind its last tokens that no embedding reads: use another "
            "network, or leave `embedding` out",
        )
    return LibraryTrunk(network, None, {})


def _without_classifier(
    network: nn.Module, classifier: str | None, arguments: Mapping[str, int | tuple[int, int] | bool]
) -> LibraryTrunk:
    if classifier is None:
        raise UserError(
            "network_misfit",
            f"the classifier of `{type(network).__name__}` is no single linear layer, which heads take the place of: "
            "use another network",
        )
    network.set_submodule(classifier, nn.Identity())
    return LibraryTrunk(network, classifier, arguments)


def _only_classifier(network: nn.Module) -> str | None:
    """The name of the only linear layer with as many outputs as classes, wherever the type has it."""
    linear = {name: each for name, each in network.named_modules() if isinstance(each, nn.Linear)}
    fitting = [name for name, each in linear.items() if each.out_features == _CLASSES]
    return fitting[0] if len(fitting) == 1 else None


def _classifier(network: nn.Module) -> str | None:
    """The name of the last linear layer where it is the network's only one with as many outputs as classes."""
    linear = {name: each for name, each in network.named_modules() if isinstance(each, nn.Linear)}
    fitting = [name for name, each in linear.items() if each.out_features == _CLASSES]
    return fitting[0] if len(fitting) == 1 and fitting[0] == list(linear)[-1] else None


def _unknown(library: str, name: str, similar: Sequence[str]) -> UserError:
    shown = f", such as {', '.join(f'`{each}`' for each in similar[:5])}" if similar else ""
    return UserError(
        "unknown_network",
        f"{library} has no classification network `{name}` in the version of this worker: use a name that it lists"
        f"{shown}",
    )


@contextmanager
def _misfits_named(name: str, input_shape: Sequence[int]) -> Iterator[None]:
    """Errors of a library that refuses an image size, as UserError."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, NotImplementedError):
        raise
    except Exception as error:  # constructors fail in many ways on sizes that do not fit
        raise misfit(name, input_shape, error) from error


def misfit(name: str, input_shape: Sequence[int], error: BaseException) -> UserError:
    """The error for a network that does not take such rows."""
    said = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    if name in SAMPLE_TYPES | BAND_TYPES:
        return UserError(
            "network_misfit",
            f"`{name}` does not take sounds of shape {list(input_shape)} ({said}): choose other `seconds` or "
            "`features` of the dataset's sounds, or another network",
        )
    if len(input_shape) == 1:
        return UserError(
            "network_misfit",
            f"`{name}` does not take rows of {input_shape[0]} tokens ({said}): choose another `length` of the "
            "dataset's texts, or another network",
        )
    return UserError(
        "network_misfit",
        f"`{name}` does not take images of shape {list(input_shape)} ({said}): choose another `size` of the dataset's "
        "images, or another network",
    )
