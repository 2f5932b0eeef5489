"""One colour for each party, the same in every chart."""

from typing import Final

from app.contracts.reports.document.charts.svg import COLOURS

_OF_PARTIES: Final = {"student": 0, "control": 1, "teacher": 2, "baseline": 3}


def colour_of(party: str, place: int = 0) -> int:
    """The number of a party's colour; others have one by their place."""
    first = party.split(" ", 1)[0].rstrip(",")
    return _OF_PARTIES.get(first, 4 + place % (COLOURS - 4))
