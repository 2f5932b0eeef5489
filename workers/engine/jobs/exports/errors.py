"""Errors that cost a file, or the measurement of one, and not the trained student."""

from app.contracts.problems import UserError
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.stop import Stopped


def export_error(error: Exception) -> UserError:
    """What a warning says of an error of torch's exporter or of ONNX Runtime, which share no base class but Exception;
    a UserError as it is. Raises the error itself where the job ends by it: by a stop, by a full disk or memory.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, Stopped | OSError) or is_out_of_memory(error):
        raise error
    return UserError(
        "export_failed",
        f"torch's exporter or ONNX Runtime failed ({named(error)}): use the safetensors file, or report this "
        "architecture",
    )


def named(error: Exception) -> str:
    """The type of an error and the beginning of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
