"""What a folder of a network for texts says: its configuration, and the tokenizer that makes its rows."""

from collections.abc import Mapping
from typing import Any, Final

from app.contracts.base import tuples
from app.contracts.problems import UserError, listed
from app.contracts.resources.inputs.texts import MOST_TOKENS, encoding_of_ids
from app.contracts.resources.manifests import ModelInputSpec, ModelManifest, TokenClassOutput, VectorOutput
from app.contracts.specs.families.huggingface_configs import (
    classifies_by_first,
    is_alike_padded_before,
    positions_key,
    positions_offset,
)
from workers.engine.data.texts.tokenizer import FILE_NAME, MOST_BYTES, TextTokenizer
from workers.engine.jobs.inspection.huggingface.configurations import Reading, check_known, network_of
from workers.engine.jobs.inspection.huggingface.folder import Folder
from workers.engine.jobs.inspection.huggingface.sentences import BASE, SentenceModules
from workers.engine.jobs.inspection.huggingface.token_settings import TokenSettings
from workers.engine.models.families.library.huggingface import check_value, configuration, own_keys, plain
from workers.engine.models.families.library.packages import package
from workers.engine.models.families.library.text_configs import FIXED, is_whole

INPUT: Final = "text"
"""The input's name where the manifest gives none."""
_HEAD: Final = "ForSequenceClassification"
_TAGGER: Final = "ForTokenClassification"
_EARLIER: Final = (
    "rope_theta", "rope_scaling", "global_rope_theta", "local_rope_theta", "global_attn_every_n_layers",
)  # fmt: skip
"""Keys of earlier versions, which transformers translates."""
_WITHOUT_EFFECT: Final = frozenset({
    "_attn_implementation_autoset", "_num_labels", "bos_token_id", "cls_token_id", "decoder_start_token_id",
    "directionality", "down_scale_factor", "eos_token_id", "finetuning_task", "gap_size", "gradient_checkpointing",
    "language", "layer_norm_eps", "layers_to_keep", "mask_token_id", "n_ctx", "net_structure_type",
    "num_memory_blocks", "output_past", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type",
    "predict_special_tokens", "reference_compile", "repad_logits_with_grad", "task_specific_params", "tie_weights_",
    "tokenizer_class", "torchscript", "unk_token_id", "use_bfloat16", "xla_device",
})  # fmt: skip
"""Keys of earlier versions and of training that change no output, where a type does not have them itself."""
_BASE: Final = "rope_theta"
_POSITIONS: Final = "position_embedding_type"
_CHOSEN: Final = ("vocab_size", "pad_token_id")
"""Keys that stand in the architecture even where they are the type's defaults."""


def read_texts(
    folder: Folder,
    config: Mapping[str, Any],
    outputs: Mapping[str, int],
    manifest: ModelManifest,
    sentences: SentenceModules | None,
) -> Reading:
    """The network, its input and its tokenizer. `sentences`: of an encoder, what makes one vector of a text.

    Raises UserError `unsupported_config`, `unusable_tokenizer`, `unreadable`.
    """
    name = str(config["model_type"])
    tagging = any(isinstance(each, TokenClassOutput) for each in manifest.outputs.values())
    if sentences is None:
        _check_architectures(config, _TAGGER if tagging else _HEAD, manifest)
    given = _configured(name, config)
    if tagging and not _has_tokenizer(folder):
        return _of_ids(name, given, outputs, manifest)
    settings = TokenSettings(_tokenizer(folder), folder.document("tokenizer_config.json"))
    _check_vocabulary(settings.tokenizer, given["vocab_size"])
    if given.get("type_vocab_size", own_keys(name).get("type_vocab_size", 0)) > 1:
        given.pop("sep_token_id", None)
        gives_types = settings.gives_types(str(config.get("transformers_version", "")))
        separator = settings.separator() if gives_types else None
        if separator is not None:
            given["sep_token_id"] = separator
    configuration(network_of(name, given, None, outputs), (1,), 2)  # what it needs for any rows
    length = settings.length(_places(name, given))
    if sentences is not None:
        length = sentences.length(length)
        sentences.check_letters(settings.tokenizer)
    embedding = sentences.embedding if sentences is not None else None
    architecture = network_of(name, given, (length,), outputs, tagging=tagging, embedding=embedding)
    spec = ModelInputSpec(tokens=settings.tokenizer.encoding(length, given["pad_token_id"], given.get("sep_token_id")))
    if embedding is not None:
        reads_first = embedding.pooling == "first"
    else:
        reads_first = not tagging and classifies_by_first(name, given)
    notes = settings.notes(is_alike_padded_before=is_alike_padded_before(name, reads_first=reads_first))
    return Reading(architecture, {_input(manifest): spec}, notes, settings.tokenizer.content)


def _has_tokenizer(folder: Folder) -> bool:
    return any(each.startswith(("vocab", "spiece", "sentencepiece", "tokenizer")) for each in folder.members)


def _of_ids(name: str, given: Mapping[str, Any], outputs: Mapping[str, int], manifest: ModelManifest) -> Reading:
    """A network without any tokenizer, which reads rows of ids."""
    configuration(network_of(name, given, None, outputs, tagging=True), (1,), 2)  # what it needs for any rows
    length = _places(name, given)
    architecture = network_of(name, given, (length,), outputs, tagging=True)
    spec = ModelInputSpec(tokens=encoding_of_ids(given["vocab_size"], given["pad_token_id"], length))
    note = {
        "code": "reads_ids",
        "message": f"the folder has no tokenizer: the model reads lists of ids below {given['vocab_size']}, filled up "
        f"with {given['pad_token_id']}, of datasets with such an input of kind `tokens`",
    }
    return Reading(architecture, {_input(manifest): spec}, (note,))


def _input(manifest: ModelManifest) -> str:
    """The name of the input; the manifest may give it, and no transform."""
    for name, spec in manifest.inputs.items():
        if spec != ModelInputSpec():
            raise UserError(
                "unsupported_config",
                f"`inputs.{name}` has a transform, and a network of texts reads tokens as they are: give `{{}}`",
            )
        return name
    return INPUT


def _check_architectures(config: Mapping[str, Any], head: str, manifest: ModelManifest) -> None:
    """Check that the folder is of a network for classification, where it says what it is."""
    found = config.get("architectures")
    if found is None:
        return
    names = [str(each)[:100] for each in found] if isinstance(found, list) else [str(found)[:100]]
    if len(names) == 1 and names[0].endswith(head):
        return
    if any(isinstance(each, VectorOutput) for each in manifest.outputs.values()):
        raise UserError(
            "unsupported_config",
            f"`architectures` of config.json is {listed(names)}, expected one …Model, an encoder without a head, for "
            f"an output of kind `vector`: {BASE} and the tokenizer beside it, or export it to ONNX",
        )
    raise UserError(
        "unsupported_config",
        f"`architectures` of config.json is {listed(names)}, expected one …{head} for this kind of output: "
        f"train the model for classification and save it by AutoModel{head}, declare an output of kind `vector` "
        "for an encoder, which AutoModel saves, or export it to ONNX",
    )


def _configured(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that describe the network, as this version of transformers has them."""
    own = own_keys(name)
    config = {key: value for key, value in config.items() if value is not None and (value is not False or key in own)}
    absolute = config.get(_POSITIONS, "absolute")
    wrong = [key for key, value in FIXED.items() if key != "use_cache" and config.get(key, value) != value]
    if wrong or absolute != "absolute":
        shown = listed(wrong or [_POSITIONS])
        raise UserError(
            "unsupported_config",
            f"config.json has {shown} with a value that is not read, expected an encoder with absolute positions, or a "
            "decoder of the list: export the model to ONNX",
        )
    check_known(config, name, {*own, *FIXED, *_EARLIER, *_WITHOUT_EFFECT, _POSITIONS})
    raw = {key: _number(key, tuples(value)) for key, value in config.items() if key in own or key in _EARLIER}
    others = {key: value for key, value in raw.items() if key not in own or value != tuples(own[key])}
    others = dict(network_of(name, others, None, {"y": 2}).config)  # bounds, before transformers sees the values
    for key, value in others.items():
        if key in own:
            check_value(name, key, value, own)
    raw |= others
    kind = package("transformers").CONFIG_MAPPING[name]
    try:
        full = kind.from_dict(plain(raw)).to_dict()
        said = {key: full[key] for key in own if full.get(key) is not None}
        given = {key: value for key, value in said.items() if key in _CHOSEN or value != own[key]}
        built = kind.from_dict(plain(tuples(given))).to_dict()
    except Exception as error:  # validators of transformers raise errors of their own
        shown = str(error).strip().partition("\n")[0][:300]
        raise UserError("unsupported_config", f"config.json of a `{name}` ({shown}): correct it") from None
    derived = {key: value for key, value in said.items() if value != built.get(key) or key == positions_key(name)}
    return dict(tuples(given | derived))


def _number(key: str, value: Any) -> Any:
    """The base of rotary positions as a fraction, as which it may be large; other values as they are."""
    return float(value) if key.endswith(_BASE) and is_whole(value) else value


def _places(name: str, given: Mapping[str, Any]) -> int:
    """Tokens of the longest row for which the network has positions."""
    found = given[positions_key(name)] - positions_offset(name, given["pad_token_id"])
    if found < 1:
        raise UserError(
            "unsupported_config",
            f"`{positions_key(name)}` of config.json is {given[positions_key(name)]}, which leaves no place for a "
            f"token of a `{name}`: correct it",
        )
    return min(int(found), MOST_TOKENS)


def _tokenizer(folder: Folder) -> TextTokenizer:
    content = folder.content(FILE_NAME, MOST_BYTES)
    if content is None:
        others = [each for each in folder.members if each.startswith(("vocab", "spiece", "sentencepiece", "tokenizer"))]
        instead = f" (found {listed(others)})" if others else ""
        raise UserError(
            "unusable_tokenizer",
            f"expected `{FILE_NAME}` beside `config.json`{instead}: save the folder with a fast tokenizer, by "
            "`AutoTokenizer.from_pretrained(…).save_pretrained(folder)`",
        )
    return TextTokenizer(content)


def _check_vocabulary(tokenizer: TextTokenizer, vocabulary: Any) -> None:
    found = tokenizer.vocabulary
    if found > vocabulary:
        raise UserError(
            "unusable_tokenizer",
            f"ids of `{FILE_NAME}` go up to {found - 1}, and `vocab_size` of config.json is {vocabulary}: save the "
            "model with its own tokenizer, after `model.resize_token_embeddings(len(tokenizer))` where that grew",
        )
