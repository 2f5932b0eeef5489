"""Networks as safetensors: plain weights under public names, and one metadata key that says what they are.

The library writes metadata keys in a random order per process, so there is exactly one, with canonical JSON in it:
equal networks give equal bytes.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from app.contracts.base import canonical_json
from workers.engine.exporting.card import METADATA_KEY

_READ_BYTES = 1 << 20


def export_safetensors(network: nn.Module, path: Path, metadata: Mapping[str, object]) -> str:
    """Write parameters and buffers of `network` to `path`; the SHA-256 of the file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(network.state_dict().items())}
    save_file(tensors, path, metadata={METADATA_KEY: canonical_json(dict(metadata))})
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
