"""What a network of a library needs to be loaded by that library."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.manifests import (
    ClassOutput,
    InputTransform,
    MultilabelOutput,
    OutputSpec,
    PositionOutput,
)
from app.contracts.specs.families.embeddings import Embedding
from app.contracts.specs.families.huggingface_configs import positions_key, positions_offset
from app.contracts.specs.families.library import HuggingFace, Timm, Torchvision
from app.models.bundle.bundled import BundledModel
from app.models.bundle.library_sounds import extraction_of_sounds, files_of_sounds

TIMM_FOLDER: Final = "timm"
HUGGINGFACE_FOLDER: Final = "huggingface"
_PROBLEMS: Final = {"class": "single_label_classification", "multilabel": "multi_label_classification"}
"""What transformers calls the kinds of outputs."""
_WITHOUT_BIAS: Final = "score"
"""The classifier of decoders in transformers, which would leave out the bias of our head without a word."""
_WITH_TYPES: Final = ["input_ids", "token_type_ids", "attention_mask"]
_TAGGER: Final = "AutoModelForTokenClassification"
"""What a folder says of a network with a head for each token."""
_ENCODER: Final = "AutoModel"
_CLASSES: Final = {"numbers": "AutoModelForImageClassification", "tokens": "AutoModelForSequenceClassification"}
_OF_SOUNDS: Final = "AutoModelForAudioClassification"
_WHITE: Final = 255.0
"""The libraries divide pixels of 8 bits by this before they subtract a mean."""


def timm_config(model: BundledModel) -> bytes | None:
    """`config.json` of a folder that `timm.create_model("local-dir:…")` loads; None where the weights file is not
    that of timm's own network: of another family, with several heads, or with a head that is not its classifier.
    """
    network = model.facts.architecture
    if not isinstance(network, Timm) or network.measured is None or network.measured.classifier is None:
        return None
    if len(model.facts.outputs) != 1 or network.input_shape is None:
        return None
    (output,) = model.facts.outputs.values()
    if not _in_own_units(output.spec):
        return None
    arguments = {name: _plain(value) for name, value in network.measured.arguments.items()}
    names = output.spec.classes if isinstance(output.spec, ClassOutput) else None
    document = {
        "architecture": network.name,
        "num_classes": output.size,
        "num_features": network.measured.features,
        "model_args": arguments,
        **({"label_names": list(names)} if names else {}),
        "pretrained_cfg": {
            "input_size": list(network.input_shape),
            "fixed_input_size": "img_size" in arguments,
            "num_classes": output.size,
            "classifier": network.measured.classifier,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            **_statistics(model),
        },
    }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def huggingface_files(model: BundledModel) -> Mapping[str, bytes] | None:
    """`config.json` and what else a folder has that transformers loads, beside weights and tokenizer; None where the
    file of the weights is not that of transformers' own network.
    """
    network = model.facts.architecture
    if not isinstance(network, HuggingFace) or len(model.facts.outputs) != 1 or network.input_shape is None:
        return None
    if network.measured is None or network.measured.classifier == _WITHOUT_BIAS:
        return None
    (output,) = model.facts.outputs.values()
    spec = output.spec
    if network.embedding is not None:
        return _of_encoder(model, network, network.embedding, output)
    if not _in_own_units(spec):
        return None
    known = spec.classes if isinstance(spec, ClassOutput | PositionOutput) else None
    names = known or [f"LABEL_{i}" for i in range(output.size)]
    config = {
        "model_type": network.name,
        **network.model_dump(mode="json")["config"],
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    if network.reads == "tokens":
        config = {**config, **_problem(spec), **_positions(network)}
        if network.answers == "tokens":
            config["architectures"] = [_TAGGER]
        return _written({"config.json": config, **_tokenizer(model)})
    if network.sound_rows is not None:
        return _written(files_of_sounds(model, network, {**config, **_problem(spec)}))
    return _written(_of_images(model, network.input_shape, config))


def _of_encoder(
    model: BundledModel, network: HuggingFace, embedding: Embedding, output: OutputFacts
) -> Mapping[str, bytes] | None:
    """Those of a folder that `AutoModel` and sentence-transformers load; None where the vector is not the pooled layer
    itself, as transformers knows no linear layer behind it.
    """
    assert network.measured is not None
    if output.size != network.measured.features or network.input_shape is None:
        return None
    config = {"model_type": network.name, **network.model_dump(mode="json")["config"]}
    if network.sound_rows is not None:
        return _written(files_of_sounds(model, network, config))
    if network.reads == "numbers":
        return _written(_of_images(model, network.input_shape, config))
    modes = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token"}
    kinds = ["Transformer", "Pooling", *(["Normalize"] if embedding.normalize else [])]
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds[1:], start=1))]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    pooling = {"word_embedding_dimension": output.size, modes[embedding.pooling]: True}
    return _written(
        {
            "config.json": {**config, **_positions(network)},
            **_tokenizer(model),
            "modules.json": modules,
            "1_Pooling/config.json": {**dict.fromkeys(modes.values(), False), **pooling},
            "sentence_bert_config.json": {"max_seq_length": network.input_shape[0], "do_lower_case": False},
        }
    )


def _problem(spec: OutputSpec) -> Mapping[str, str]:
    return {"problem_type": _PROBLEMS[spec.kind]} if spec.kind in _PROBLEMS else {}


def _positions(network: HuggingFace) -> Mapping[str, int]:
    """The number of positions, where the configuration leaves it to the length of the rows."""
    key, padding = positions_key(network.name), network.config.get("pad_token_id", 0)
    assert network.input_shape is not None
    assert isinstance(padding, int)
    return {} if key in network.config else {key: network.input_shape[0] + positions_offset(network.name, padding)}


def _tokenizer(model: BundledModel) -> Mapping[str, Mapping[str, Any]]:
    """How transformers reads `tokenizer.json`, which says neither the padding nor the longest row; nothing where rows
    are ids.
    """
    (tokens,) = (each.tokens for each in model.facts.inputs.values() if each.tokens is not None)
    if tokens.ids:
        return {}
    return {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": tokens.padding_token,
            "model_max_length": tokens.length,
            **({"model_input_names": _WITH_TYPES} if _has_types(model) else {}),
        }
    }


def _has_types(model: BundledModel) -> bool:
    """Whether the network was trained with token types for pairs: transformers then has to pass `token_type_ids`."""
    network = model.facts.architecture
    return isinstance(network, HuggingFace) and network.config.get("sep_token_id") is not None


def _in_own_units(spec: OutputSpec) -> bool:
    """Whether the network puts out what is meant: libraries know nothing of the units in which values are learned."""
    return isinstance(spec, ClassOutput | MultilabelOutput | PositionOutput)


def _of_images(
    model: BundledModel, input_shape: tuple[int, ...], config: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any]]:
    channels, height, width = input_shape
    config = {
        **config,
        "image_size": height if height == width else [height, width],
        "num_channels": channels,
    }
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": _is_stretched(model),
        "size": {"height": height, "width": width},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / _WHITE,
        "do_normalize": True,
        **{f"image_{name}": values for name, values in _statistics(model).items()},
    }
    return {"config.json": config, "preprocessor_config.json": processor}


def _written(documents: Mapping[str, Any]) -> Mapping[str, bytes]:
    return {
        name: (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
        for name, document in documents.items()
    }


def _is_stretched(model: BundledModel) -> bool:
    """Whether images of any proportions become the rows of the dataset by resizing alone."""
    forms = [each.takes.image for each in model.inputs.values()]
    return bool(forms) and all(form is not None and form.fit == "stretch" for form in forms)


def loading_lines(model: BundledModel) -> Iterator[str]:
    """How a program loads the network by its library."""
    network = model.facts.architecture
    sizes = [output.size for output in model.facts.outputs.values()]
    if timm_config(model) is not None:
        yield "As a network of timm, for pixels that are prepared as `timm/config.json` says:"
        yield ""
        yield f'    timm.create_model("local-dir:{TIMM_FOLDER}", pretrained=True)'
        yield from _fit_lines(model)
    elif huggingface_files(model) is not None:
        assert isinstance(network, HuggingFace)
        kind, beside = _class_and_processor(network)
        if network.sound_rows is not None and extraction_of_sounds(model, network) is None:
            beside = "rows of `sounds.py`"
        yield f"As a network of transformers, with its {beside}:"
        yield ""
        yield f'    transformers.{kind}.from_pretrained("{HUGGINGFACE_FOLDER}")'
        if network.embedding is not None:
            yield ""
            yield from _pooling_lines(network.embedding)
        yield from _fit_lines(model)
        yield from _sound_lines(model, network)
    elif isinstance(network, HuggingFace) and network.measured and network.measured.classifier == _WITHOUT_BIAS:
        yield f"There is no folder for transformers, whose classifier of `{network.name}` lacks the bias of this one."
    elif isinstance(network, Torchvision) and len(sizes) == 1 and network.measured and network.measured.classifier:
        yield "As a network of torchvision, for pixels that are prepared as `config.json` says:"
        yield ""
        arguments = "".join(f", {name}={value}" for name, value in network.measured.arguments.items())
        yield f'    model = torchvision.models.get_model("{network.name}", num_classes={sizes[0]}{arguments})'
        yield '    model.load_state_dict(safetensors.torch.load_file("student.safetensors"))'


def _class_and_processor(network: HuggingFace) -> tuple[str, str]:
    """(the class of transformers that loads it, what prepares its rows)."""
    beside = "tokenizer" if network.reads == "tokens" else "image processor"
    kind = _TAGGER if network.answers == "tokens" else _CLASSES[network.reads]
    if network.sound_rows is not None:
        kind, beside = _OF_SOUNDS, "feature extractor"
    return (kind if network.embedding is None else _ENCODER), beside


def _sound_lines(model: BundledModel, network: HuggingFace) -> Iterator[str]:
    """How sounds become rows outside the service."""
    if network.sound_rows is None:
        return
    lines = extraction_of_sounds(model, network)
    yield ""
    if lines is None:
        yield "No extractor of transformers makes its rows of sounds: `sounds.py` does, on which the answers depend."
        return
    yield "Its feature extractor makes the rows on which it was trained, of `sounds`, a list of samples at one rate:"
    yield ""
    yield f'    extract = transformers.AutoFeatureExtractor.from_pretrained("{HUGGINGFACE_FOLDER}")'
    for line in lines:
        yield f"    {line}"


def _pooling_lines(embedding: Embedding) -> Iterator[str]:
    """How the last layer of an encoder becomes the answer."""
    pooled = {"mean": "the mean of `last_hidden_state` over the tokens of a row", "first": "that of the first token"}
    unit = ", divided by its length" if embedding.normalize else ""
    yield f"The vector of a row is {pooled[embedding.pooling]}{unit}."


def _fit_lines(model: BundledModel) -> Iterator[str]:
    """How image files of other sizes become what the network was trained on."""
    if model.reads_images and not _is_stretched(model):
        yield ""
        yield (
            "It takes pixels as `images.py` makes them of image files, at the size of the dataset: other ways "
            "to resize and crop give other answers."
        )


def _statistics(model: BundledModel) -> Mapping[str, Any]:
    """`mean` and `std` as timm takes them: of pixels between 0 and 1. One number counts for all channels."""
    channels = (model.facts.input_shape or (1,))[0]
    transform = next(iter(model.facts.inputs.values()), InputTransform())
    unit = transform.scale * _WHITE
    mean, std = (_each(value, channels) for value in (transform.mean, transform.std))
    return {"mean": [value / unit for value in mean], "std": [value / unit for value in std]}


def _each(statistic: float | tuple[float, ...], channels: int) -> list[float]:
    return list(statistic) if isinstance(statistic, tuple) else [statistic] * channels


def _plain(value: int | tuple[int, int]) -> int | list[int]:
    return list(value) if isinstance(value, tuple) else value
