"""Folders of transformers with small random networks that read texts, as `save_pretrained` writes them."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from app.contracts.specs.families.library import HuggingFace
from workers.engine.models.families.library.measure import measure
from workers.engine.models.families.library.packages import package

VOCABULARY = 40
LENGTH = 24
PAD, SEP = 0, 3
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "red", "owl", "sky")
_BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": LENGTH + 2,
    "pad_token_id": PAD,
}
_NARROW: dict[str, Any] = {**_BASE, "embedding_size": 16}
_DECODER: dict[str, Any] = {**_BASE, "num_key_value_heads": 1, "bos_token_id": 2, "eos_token_id": SEP}
_SLIDING: dict[str, Any] = {
    **_DECODER,
    "use_sliding_window": True,
    "sliding_window": 5,
    "layer_types": ["full_attention", "sliding_attention"],
}
CONFIGS: dict[str, dict[str, Any]] = {
    "albert": {**_NARROW, "num_hidden_groups": 1},
    "bert": _BASE,
    "camembert": _BASE,
    "data2vec-text": _BASE,
    "deberta-v2": {
        **_BASE,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    },
    "distilbert": {
        "vocab_size": VOCABULARY,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 48,
        "max_position_embeddings": LENGTH,
        "pad_token_id": PAD,
    },
    "electra": _NARROW,
    "ernie": _BASE,
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_positions": LENGTH,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "pad_token_id": PAD,
        "bos_token_id": 2,
        "eos_token_id": SEP,
    },
    "llama": {**_DECODER, "rope_parameters": {"rope_type": "default", "rope_theta": 5_000_000.0}},
    "megatron-bert": _BASE,
    "mistral": {**_DECODER, "head_dim": 8, "sliding_window": 5},
    "mobilebert": {**_NARROW, "intra_bottleneck_size": 16},
    "modernbert": {
        **_BASE,
        "num_hidden_layers": 4,
        "local_attention": 8,
        "bos_token_id": 2,
        "cls_token_id": 2,
        "eos_token_id": SEP,
        "sep_token_id": SEP,
    },
    "mpnet": _BASE,
    "qwen2": _SLIDING,
    "qwen3": _SLIDING,
    "rembert": {**_BASE, "input_embedding_size": 16},
    "roberta": {**_BASE, "pad_token_id": 1, "type_vocab_size": 1},
    "roberta-prelayernorm": _BASE,
    "smollm3": {**_DECODER, "no_rope_layers": [1, 0]},
    "squeezebert": {**_BASE, "embedding_size": 32},
    "xlm-roberta": {**_BASE, "pad_token_id": 1, "type_vocab_size": 1},
}
WITH_TYPES = ("albert", "bert", "electra", "ernie", "megatron-bert", "mobilebert", "rembert", "squeezebert")
"""Types that have token types of pairs."""
CLASSES = ("cat", "dog", "owl")


def network(name: str, **changed: Any) -> Any:
    """A small random network of a type, in evaluation mode; `changed`: other keys of its configuration."""
    transformers = package("transformers")
    labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {each: i for i, each in enumerate(CLASSES)}}
    config = transformers.CONFIG_MAPPING[name].from_dict({**CONFIGS[name], "num_labels": 3, **labels, **changed})
    torch.manual_seed(0)
    made: nn.Module = transformers.AutoModelForSequenceClassification._model_mapping[type(config)](config)
    with torch.no_grad():
        for each in made.parameters():  # outputs differ by more than rounding, and padding has an embedding as well
            each.add_(torch.randn_like(each), alpha=0.1)
    return made.eval()


def tokenizer(pairs: bool = True, lowercase: bool = True) -> Tokenizer:
    """A tokenizer of words and letters with the special tokens of BERT."""
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    second = ":1" if pairs else ":0"
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] $B{second} [SEP]{second}",
        special_tokens=[("[CLS]", 2), ("[SEP]", SEP)],
    )
    return made


def saved(made: Any, folder: Path, words: Tokenizer | None = None, types: bool = True, **options: Any) -> Path:
    """The folder that transformers writes, with a tokenizer; `types`: whether it hands on the types of tokens."""
    made.save_pretrained(folder, **options)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = package("transformers").PreTrainedTokenizerFast(
        tokenizer_object=words or tokenizer(),
        model_input_names=["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
        **special,
    )
    fast.save_pretrained(folder)
    return folder


def rows(padding: int, width: int = LENGTH, lengths: tuple[int, ...] = (LENGTH, 10, 7, 3, 17, 1)) -> Tensor:
    """Random ids [N, width], filled up behind `lengths`."""
    ids = torch.randint(4, VOCABULARY, (len(lengths), width), generator=torch.Generator().manual_seed(1))
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = padding
    return ids


def described(name: str, length: int = LENGTH, **changed: Any) -> HuggingFace:
    """The architecture of a type as a student has it, measured."""
    config = {key: _tuples(value) for key, value in {**CONFIGS[name], **changed}.items()}
    fields = {"family": "huggingface", "name": name, "config": config, "input_shape": (length,), "outputs": {"y": 3}}
    made = HuggingFace.model_validate(fields)
    return made.model_copy(update={"measured": measure(made, (length,))})


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
