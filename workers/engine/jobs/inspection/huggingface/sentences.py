"""Encoders: what makes one vector of a text or an image, as the modules of sentence-transformers or the manifest say.

    modules.json               the modules in their order: Transformer, Pooling, Dense and Normalize where needed
    0_Transformer              the transformer, in older folders; else it is beside modules.json
    1_Pooling/config.json      `pooling_mode_mean_tokens` or `pooling_mode_cls_token`, and the width of tokens
    2_Dense                    a linear layer, with its weights in model.safetensors
    sentence_bert_config.json  `max_seq_length` and `do_lower_case`
    config_sentence_transformers.json  `default_prompt_name`, a text that is put before each

What these say and is not computed here is refused: it would change every vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ModelManifest, VectorOutput
from app.contracts.specs.families.embeddings import Embedding
from app.contracts.specs.families.layer_pairs import LayerPooling
from workers.engine.data.texts.tokenizer import TextTokenizer
from workers.engine.jobs.inspection.huggingface.folder import MODULES, Folder, unreadable

_MODES: Final[Mapping[str, LayerPooling]] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
_MODE: Final = "pooling_mode"
_BY_NAME: Final[Mapping[str, LayerPooling]] = {"mean": "mean", "cls": "first"}
_WIDTHS: Final = ("word_embedding_dimension", "embedding_dimension")
"""Keys under which the module Pooling says the width of a token."""
_ORDER: Final = ("Transformer", "Pooling", "Dense", "Normalize")
BASE: Final = "save the base model, by `AutoModel.from_pretrained(folder).save_pretrained(base)`"
"""The way out for a folder that has the encoder that is wanted under a head."""


@dataclass(frozen=True)
class SentenceModules:
    """How an encoder makes one vector a row. `dense`: (weight [size, width], bias [size] or None) of its linear layer.
    `settings`: `sentence_bert_config.json`. `widths`: of a token, as the module Pooling says it.
    """

    embedding: Embedding
    dense: tuple[Tensor, Tensor | None] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    widths: Mapping[str, Any] = field(default_factory=dict)

    def length(self, most: int) -> int:
        """Most tokens of a row, of a network and tokenizer that take `most`. Raises UserError `unsupported_config`."""
        found = self.settings.get("max_seq_length")
        if found is None:
            return most
        if isinstance(found, bool) or not isinstance(found, int) or found < 3:
            raise _unsupported(
                "sentence_bert_config.json", f"`max_seq_length` is {str(found)[:40]}, expected 3 or more"
            )
        return min(most, found)

    def check_width(self, width: int) -> None:
        """Check that tokens have as many numbers as the pooling expects. Raises UserError `unsupported_config`."""
        for key, found in self.widths.items():
            if found != width:
                raise _unsupported(
                    "the module Pooling",
                    f"`{key}` is {str(found)[:40]}, and the network's tokens have {width} numbers: save the model "
                    "again by sentence-transformers, so that its modules go together",
                )

    def check_letters(self, tokenizer: TextTokenizer) -> None:
        """Check that texts become lower-case where they are to. Raises UserError `unsupported_config`."""
        if not self.settings.get("do_lower_case"):
            return
        large, small = tokenizer.encode([("Owl É",), ("owl é",)], 64)
        if large.tolist() != small.tolist():
            raise _unsupported("sentence_bert_config.json", "`do_lower_case` is true, and the tokenizer keeps capitals")


def encoder_of(
    folder: Folder, config: Mapping[str, Any], manifest: ModelManifest, scratch: Path
) -> SentenceModules | None:
    """What makes the vectors of an encoder; None for a network with a classifier.

    Raises UserError `unsupported_config`, `unreadable`, `wrong_output`.
    """
    (output,) = manifest.outputs.values()
    found = config.get("architectures")
    names = [str(each) for each in found] if isinstance(found, list) else []
    whole = folder.whole or folder
    says_so = MODULES in whole.members or manifest.embedding is not None
    if not (names[0].endswith("Model") if len(names) == 1 else not names and says_so):
        if manifest.embedding is not None:
            detail = f"`embedding` is for encoders, found {listed(names)}: leave it out, or {BASE}"
            raise _unsupported("the manifest", detail)
        return None
    if not isinstance(output, VectorOutput):
        raise UserError(
            "wrong_output",
            f"the folder has an encoder without a classifier, and the manifest an output of kind {output.kind}: "
            "declare one of kind `vector`, or upload a model for classification",
        )
    modules = _modules(whole)
    if not modules:
        if manifest.embedding is None:
            raise _unsupported(
                "the folder",
                f"an encoder has no `{MODULES}` that says how tokens become one vector: say it in the manifest, such "
                'as `"embedding": {"pooling": "mean"}`',
            )
        return SentenceModules(manifest.embedding)
    read = _read(whole, modules, folder.document("sentence_bert_config.json"), scratch)
    if manifest.embedding not in (None, read.embedding):
        said = read.embedding.model_dump(mode="json")
        raise _unsupported("the manifest", f"`embedding` differs from the folder's modules, {said}: leave it out")
    return read


def _modules(folder: Folder) -> Mapping[str, str]:
    """Kind of module -> its folder, in their order; empty where the folder has none."""
    modules = folder.modules()
    names = list(modules)
    expected = [kind for kind in _ORDER if kind in names or kind in _ORDER[:2]]
    if modules and names != expected:
        raise _unsupported(
            MODULES, f"it has {listed(names)}, expected {', '.join(_ORDER)} in this order, the last two where needed"
        )
    return modules


def _read(folder: Folder, modules: Mapping[str, str], settings: Mapping[str, Any], scratch: Path) -> SentenceModules:
    prompt = folder.document("config_sentence_transformers.json").get("default_prompt_name")
    if prompt is not None:
        detail = f"texts have the prompt `{str(prompt)[:40]}` before them, which is not put there"
        raise _unsupported("config_sentence_transformers.json", detail)
    dense = None
    if "Dense" in modules:
        dense = _dense(folder.inner(modules["Dense"]), scratch)
    config = folder.inner(modules["Pooling"]).document("config.json")
    embedding = Embedding(pooling=_pooling(config), normalize="Normalize" in modules)
    return SentenceModules(embedding, dense, settings, {key: config[key] for key in _WIDTHS if key in config})


def _pooling(config: Mapping[str, Any]) -> LayerPooling:
    """Raises UserError `unsupported_config` unless tokens are pooled by their mean, or by the first one, alone."""
    modes = [key for key, value in config.items() if key.startswith(f"{_MODE}_") and value is True]
    named = config.get(_MODE)
    found = [_MODES[mode] for mode in modes if mode in _MODES]
    if isinstance(named, str) and named in _BY_NAME and not modes:
        found, modes = [_BY_NAME[named]], [named]
    if len(modes) != 1 or len(found) != 1:
        said = listed(modes or ([str(named)[:40]] if named is not None else []))
        raise _unsupported(
            "the module Pooling", f"it has {said or 'no mode'}, expected the mean or the first token alone"
        )
    if config.get("include_prompt") is False:
        raise _unsupported("the module Pooling", "`include_prompt` is false, and prompts are not known here")
    return found[0]


def _dense(folder: Folder, scratch: Path) -> tuple[Tensor, Tensor | None]:
    activation = str(folder.document("config.json").get("activation_function", ""))
    if not activation.endswith(".Identity"):
        detail = f"its activation is `{activation[:80]}`, expected `torch.nn.modules.linear.Identity`"
        raise _unsupported("the module Dense", detail)
    tensors = folder.weights(scratch)
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or weight.dim() != 2 or set(tensors) - {"linear.weight", "linear.bias"}:
        raise unreadable(f"the module Dense has {listed(sorted(tensors))}, expected `linear.weight` and `linear.bias`")
    return weight, bias


def _unsupported(place: str, detail: str) -> UserError:
    way_out = "" if ": " in detail else ": export the model to ONNX with an output of its vectors"
    return UserError("unsupported_config", f"{place}: {detail}{way_out}")
