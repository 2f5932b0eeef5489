"""Mixed precision: bfloat16 where the device supports it, else float32 and a warning."""

from contextlib import AbstractContextManager, nullcontext

import torch

from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.events import WarningEvent


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 in hardware, without emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Precision:
    """The precision of forward passes; losses are always in float32 or wider."""

    def __init__(self, training: TrainingSpec, device: torch.device) -> None:
        self._device = device
        self._bfloat16 = training.precision == "bfloat16" and has_bfloat16(device)
        self.warning = (
            WarningEvent(
                code="no_bfloat16",
                message=f"this device ({device.type}) does not compute in bfloat16: training runs in float32",
            )
            if training.precision == "bfloat16" and not self._bfloat16
            else None
        )

    @property
    def name(self) -> str:
        """The precision used: `float32` or `bfloat16`."""
        return "bfloat16" if self._bfloat16 else "float32"

    def forward(self) -> AbstractContextManager[object]:
        """The context manager of a forward pass."""
        if not self._bfloat16:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)
