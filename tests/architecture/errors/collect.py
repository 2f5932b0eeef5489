"""Error and warning codes with their messages, as the source names them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PLACES = {
    "UserError": 0,
    "coded_error": 0,
    "warn": 0,
    "failed": 0,
    "crashed": 0,
    "failure": 0,
    "problem": 1,
    "_problem": 1,
    "at": 1,
    "Invalid": 1,
    "NotRetryable": 0,
    "ApiError": 0,
    "BadRequest": 0,
    "Unauthorized": 0,
    "Forbidden": 0,
    "NotFound": 0,
    "Conflict": 0,
    "TooLarge": 0,
    "NotSupported": 0,
    "RangeRefused": 0,
    "TooSlow": 0,
    "TooMany": 0,
    "NotDeletable": 0,
    "Unavailable": 0,
    "NoRoom": 0,
}
"""Functions and classes that take a code -> its place among the arguments; the message follows it."""
_MESSAGES = ("message", "detail")


@dataclass(frozen=True)
class Found:
    """A code in the source. `message` is None where it is not written there; parts that are computed are `{}`."""

    code: str
    place: str
    message: str | None


def found_codes() -> list[Found]:
    """Every code that is a constant in a call, a dict with `code`, or an assignment to `code`."""
    return [
        each
        for package in ("app", "workers")
        for path in sorted((ROOT / package).rglob("*.py"))
        for each in _in_file(path)
    ]


def _in_file(path: Path) -> Iterator[Found]:
    place = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text())):
        for code, message in _pairs(node):
            for constant in _constants(code):
                line = getattr(node, "lineno", 0)
                yield Found(constant, f"{place}:{line}", None if message is None else _text(message))


def _pairs(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """(code, message) of a node."""
    if isinstance(node, ast.Call):
        place = PLACES.get(_name(node.func))
        if place is not None and len(node.args) > place:
            yield node.args[place], node.args[place + 1] if len(node.args) > place + 1 else None
        named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
        if "code" in named:
            yield named["code"], next((named[each] for each in _MESSAGES if each in named), None)
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        keys = {key.value: value for key, value in pairs if isinstance(key, ast.Constant)}
        if "code" in keys:
            yield keys["code"], next((keys[each] for each in _MESSAGES if each in keys), None)
    elif isinstance(node, ast.Assign) and [_name(target) for target in node.targets] == ["code"]:
        yield node.value, None


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)


def _text(node: ast.expr) -> str | None:
    """The constant parts of a message; None where nothing of it is written here."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    if isinstance(node, ast.BinOp):
        return (_text(node.left) or "{}") + (_text(node.right) or "{}")
    return None
