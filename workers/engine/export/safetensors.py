"""Export to safetensors: weights by name, and metadata.

The library writes metadata keys in a random order, so there is exactly one key, with canonical JSON as its value: equal
networks give equal bytes.
"""

from collections.abc import Mapping
from pathlib import Path

from app.contracts.base import canonical_json
from app.contracts.layouts.cut_files import METADATA_KEY
from workers.engine.common.files import save_tensors
from workers.engine.models import Network


def export_safetensors(network: Network, path: Path, metadata: Mapping[str, object]) -> None:
    """Write parameters and buffers of `network` to `path`, under their names in files."""
    tensors = {network.file_name(name): tensor.detach().cpu() for name, tensor in sorted(network.state_dict().items())}
    save_tensors(tensors, path, {METADATA_KEY: canonical_json(dict(metadata))})
