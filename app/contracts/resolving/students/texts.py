"""Students that read tokens: what their tokenizer says of their configuration."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from app.contracts.resolving.data.texts import text_read, tokens_of
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.inputs.texts import TokenEncoding, reads_same_tokens
from app.contracts.specs.architectures import AnyNetwork, Architecture
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.jobs import AnyTrainingJob

Models = Mapping[str, ModelFacts | None]
_Network = TypeVar("_Network", bound=Architecture)


def with_tokens(
    network: _Network, dataset: DatasetFacts | None, models: Models, findings: Findings, pointer: str
) -> _Network:
    """The network with its vocabulary, the id that fills rows and the length of a row, as its tokenizer has them.

    Without `tokenizer` it reads by that of the model that it starts from, else by the dataset's.
    """
    if not isinstance(network, HuggingFace) or network.reads != "tokens":
        return network
    if dataset is None:
        return network
    read = text_read(network.inputs, dataset.inputs)
    if not isinstance(read, tuple):
        findings.problem(f"{pointer}/inputs", read.code, read.detail)
        return network
    facts = read[1]
    encoding = _encoding(network, facts.tokens, models, findings, pointer)
    if encoding is None:
        return network
    is_pair = facts.raw is not None and len(facts.raw.columns) > 1
    update = {"config": _config(network, encoding, is_pair, findings, pointer)}
    length = network.input_shape or (encoding.length,)
    if len(length) == 1 and length[0] > encoding.length:
        findings.problem(
            f"{pointer}/input_shape",
            "shape_mismatch",
            f"rows of up to {length[0]} tokens, expected at most {encoding.length} as its tokenizer has them: leave "
            "`input_shape` out",
        )
    return cast(_Network, network.model_copy(update={**update, "input_shape": length}))


def check_formats(spec: AnyTrainingJob, findings: Findings) -> None:
    """float16 holds whole numbers up to 2048 alone, and no mask of a padded row."""
    if spec.network.reads == "tokens" and "fp16" in spec.formats:
        findings.problem(
            f"/exports/{spec.exports.index('fp16')}",
            "half_undefined",
            "expected `onnx` or `int8` for a network of texts, found `fp16`, which holds neither the ids of its tokens "
            "nor its masks: leave it out",
        )


def encoding_of(network: AnyNetwork, dataset: DatasetFacts, models: Models) -> TokenEncoding | None:
    """How a network reads the texts of a dataset; None of a network of numbers, and where that is not known."""
    if not isinstance(network, HuggingFace) or network.reads != "tokens":
        return None
    read = text_read(network.inputs, dataset.inputs)
    if not isinstance(read, tuple):
        return None
    return _encoding(network, read[1].tokens, models, Findings(), "")


def _encoding(
    network: HuggingFace, of_dataset: TokenEncoding | None, models: Models, findings: Findings, pointer: str
) -> TokenEncoding | None:
    model = network.tokenizer_model
    if model is None:
        return of_dataset
    facts = models.get(model)
    if facts is None:
        findings.unknown()
        return None
    found = tokens_of(facts)
    if found is None and network.tokenizer is not None:
        findings.problem(
            f"{pointer}/tokenizer",
            "no_tokenizer",
            "expected a model with a tokenizer, found one that reads numbers: name another, or leave `tokenizer` out",
        )
        return None
    if found is not None and of_dataset is not None and not _reads_alike(found, of_dataset):
        field = "tokenizer" if network.tokenizer is not None else "pretrained"
        findings.problem(
            f"{pointer}/{field}",
            "tokens_differ",
            f"expected a model that reads {_kind(of_dataset)}, as the dataset has them, found one that reads "
            f"{_kind(found)}: name another, or leave `{field}` out",
        )
        return None
    return found or of_dataset


def _reads_alike(model: TokenEncoding, dataset: TokenEncoding) -> bool:
    """Whether a model can read a dataset's texts, by its own tokenizer, or its ids, which must be those it knows."""
    return model.ids == dataset.ids and (model.ids is None or reads_same_tokens(model, dataset))


def _kind(encoding: TokenEncoding) -> str:
    if encoding.ids:
        return f"ids below {encoding.vocabulary} with the padding {encoding.padding}"
    return "texts"


def _config(
    network: HuggingFace, encoding: TokenEncoding, is_pair: bool, findings: Findings, pointer: str
) -> Mapping[str, Any]:
    """The configuration with what the tokenizer decides. A larger vocabulary than the tokenizer's is no fault."""
    given = network.config
    size = given.get("vocab_size", encoding.vocabulary)
    if not isinstance(size, int) or size < encoding.vocabulary:
        findings.problem(
            f"{pointer}/config/vocab_size",
            "unsupported_config",
            f"{size!r}, expected at least the {encoding.vocabulary} ids of its tokenizer: leave it out",
        )
    if given.get("pad_token_id", encoding.padding) != encoding.padding:
        findings.problem(
            f"{pointer}/config/pad_token_id",
            "unsupported_config",
            f"{given['pad_token_id']!r}, expected {encoding.padding}, by which its tokenizer fills rows: leave it out",
        )
    of_pairs = {} if encoding.separator is None or not is_pair else {"sep_token_id": encoding.separator}
    return {**of_pairs, **given, "vocab_size": size, "pad_token_id": encoding.padding}
