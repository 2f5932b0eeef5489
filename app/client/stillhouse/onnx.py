"""Sessions of ONNX Runtime, which is imported with the first one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.errors import Unreadable


def session_of(path: Path, options: Mapping[str, Any]) -> Any:
    """An onnxruntime.InferenceSession of a file. Raises Unreadable without onnxruntime."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise Unreadable("expected onnxruntime to run the model, found none: pip install onnxruntime") from None
    return onnxruntime.InferenceSession(path.read_bytes(), **options)
