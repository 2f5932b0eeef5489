"""bfloat16 where the device computes in it, else float32 and a warning."""

from contextlib import AbstractContextManager, nullcontext

import torch

from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.events import WarningEvent


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware, not emulated."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Precision:
    """How forward passes are computed; losses are in float32 or wider whatever it is."""

    def __init__(self, training: TrainingSpec, device: torch.device) -> None:
        self._device = device
        self._low = training.precision == "bfloat16" and has_bfloat16(device)
        self.warning = (
            WarningEvent(
                code="no_bfloat16",
                message=f"this device ({device.type}) does not compute in bfloat16: training runs in float32",
            )
            if training.precision == "bfloat16" and not self._low
            else None
        )

    @property
    def name(self) -> str:
        """`float32` or `bfloat16`, as really used."""
        return "bfloat16" if self._low else "float32"

    def forward(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if not self._low:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)
