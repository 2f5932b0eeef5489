"""The rejection of a graph."""

from app.contracts.problems import UserError


def refuse(message: str) -> UserError:
    """A UserError `unreadable`."""
    return UserError("unreadable", f"this ONNX graph is not supported: {message}")


def first_line(text: str) -> str:
    """The first line of another library's error, shortened."""
    return text.partition("\n")[0][:300]
