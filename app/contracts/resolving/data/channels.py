"""Warnings about rows whose first side is taken for the channels."""

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import InputFacts
from app.contracts.specs.families.channel_sides import OtherReading, other_reading


def warn_of_channels(rows: InputFacts, shape: tuple[int, ...], reader: str, findings: Findings) -> None:
    """Warn once for each shape where `reader` takes the first side of `shape` for channels and another reading is as
    plausible. A `layout` in the manifest says which one is meant.
    """
    reading = other_reading(shape) if rows.layout is None else None
    if reading is None:
        return
    rows_read = f"rows of shape {list(shape)} are read as {shape[0]} channels of {' x '.join(map(str, shape[1:]))}"
    if all(not warning["message"].startswith(rows_read) for warning in findings.warnings):
        findings.warn("channels_last_suspected", f"{rows_read} (by {reader}): {_way_out(reading, shape)}")


def _way_out(reading: OtherReading, shape: tuple[int, ...]) -> str:
    last = (
        f'if the last side has the channels ({shape[-1]}), set `"layout": "channels_last"` in the dataset\'s '
        'manifest, else `"channels_first"`'
    )
    if reading == "channels_last":
        return last
    return f'if they are images of one channel, give the dataset\'s input `"shape": {[1, *shape]}`; {last}'
