"""All sounds of a dataset as rows of features."""

from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.inputs.audio import AudioInput
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.common import EncodedFiles
from workers.engine.data.formats.files.decoded import MOST_BYTES, decoded_rows
from workers.engine.data.formats.sounds.decode import features

STORED: Final = "sounds"
"""The folder of features of sounds in a store."""
DECODER: Final = 2
"""To be raised with every change of what a sound's features are, or of the order of a file's sounds."""


def sound_rows(name: str, sounds: EncodedFiles, spec: AudioInput, storage: RowStorage | None, kind: str) -> Tensor:
    """Rows float32 [N, *spec.row] of an input, of a file of format `kind`. With a storage they are mapped
    from its file, which is made once; without one they are in memory.

    Raises the UserErrors of `features`, and `too_large`.
    """
    count = len(sounds)
    row = RowFile(np.dtype(np.float32), spec.row)
    if count * row.bytes > MOST_BYTES:
        raise UserError(
            "too_large",
            f"input `{name}` has {count} sounds of {spec.row} numbers, {count * row.bytes} bytes, {MOST_BYTES} at "
            "most: choose shorter `seconds`, a longer `hop` or fewer `mels`, or upload fewer sounds",
        )

    def decode(sound: str, content: bytes) -> NDArray[np.float32]:
        return features(sound, content, spec)

    facts = {"format": kind, "column": spec.column, "form": spec.form.model_dump(mode="json"), **sound_facts()}
    return decoded_rows(sounds, row, decode, storage, STORED, facts)


def sound_facts() -> dict[str, Any]:
    """What the features of a file depend on besides what is asked for."""
    libraries = {"soundfile": soundfile.__version__, "libsndfile": soundfile.__libsndfile_version__}
    return {"decoder": DECODER, **libraries, "numpy": np.__version__}
