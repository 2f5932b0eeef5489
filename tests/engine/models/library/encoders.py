"""Folders of encoders, as `save_pretrained` of transformers and sentence-transformers write them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from tests.engine.models.library.text_folders import CONFIGS, saved
from workers.engine.models.families.library.packages import package

MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
FIRST = {**MEAN, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
IDENTITY = "torch.nn.modules.linear.Identity"


def encoder(name: str, **changed: Any) -> Any:
    """A small random encoder of a type, in evaluation mode."""
    transformers = package("transformers")
    torch.manual_seed(0)
    made = transformers.AutoModel.from_config(transformers.CONFIG_MAPPING[name].from_dict({**CONFIGS[name], **changed}))
    with torch.no_grad():
        for each in made.parameters():  # outputs differ by more than rounding
            each.add_(torch.randn_like(each), alpha=0.1)
    return made.eval()


def sentence_folder(
    made: Any, folder: Path, kinds: tuple[str, ...] = ("Pooling", "Normalize"), pooling: dict[str, Any] = MEAN
) -> Path:
    """A folder with modules behind the transformer, each in a folder of its own."""
    saved(made, folder)
    paths = {"Transformer": "", **{kind: f"{i}_{kind}" for i, kind in enumerate(kinds, start=1)}}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in paths.items()]
    written(folder / "modules.json", modules)
    if "Pooling" in paths:
        written(folder / paths["Pooling"] / "config.json", {"word_embedding_dimension": 32, **pooling})
    return folder


def with_dense(folder: Path, size: int, activation: str = IDENTITY) -> dict[str, Tensor]:
    """The weights of a module Dense, which are written to its folder."""
    torch.manual_seed(1)
    weights = {"linear.weight": torch.randn(size, 32), "linear.bias": torch.randn(size)}
    written(folder / "2_Dense" / "config.json", {"in_features": 32, "activation_function": activation})
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    return weights


def written(path: Path, document: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))


def zipped(folder: Path, path: Path) -> Path:
    """A folder and those in it as a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, str(file.relative_to(folder)))
    return path


@torch.no_grad()
def mean_vectors(made: Any, ids: Tensor, mask: Tensor, *, unit: bool) -> Tensor:
    """The mean of the last layer of transformers over the tokens of each row [N, D]."""
    hidden = made(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    vectors: Tensor = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return normalize(vectors, dim=1) if unit else vectors
