"""What means a category in a graph: texts and whole numbers by which a person may write it, and its place."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.raw_rows import Spellings
from workers.engine.data.formats.written import Written
from workers.engine.data.rows.uploaded import Meanings
from workers.engine.data.tables.text import canonical, other_spellings, spellings

WHOLE = re.compile(r"0|-?[1-9]\d{0,18}", re.ASCII)
"""A text that means a whole number: with leading zeros or other digits it is another category."""
MOST_SPELLINGS = 8192
"""How many unusual spellings of an input are kept."""
MOST_CHARACTERS = 1 << 18
"""How long they are together."""


def places_of(texts: Sequence[str], categories: Sequence[str]) -> NDArray[np.int64]:
    """For each text that a reader made its place among the categories, or their number where it is none of them."""
    known = {canonical(category): i for i, category in enumerate(categories)}
    known |= {category: i for i, category in enumerate(categories)}
    return np.array([known.get(text, len(categories)) for text in texts], dtype=np.int64)


def read_keys(categories: Sequence[str]) -> dict[str, int]:
    """Texts that every reader takes for a category, and its place: `1.0` is `1`, `True` is `true`."""
    texts = list(dict.fromkeys(text for category in categories for text in spellings(category)))
    places = places_of([canonical(text) for text in texts], categories)
    return {text: place for text, place in zip(texts, places.tolist(), strict=True) if place < len(categories)}


def text_keys(categories: Sequence[str], spelled: Spellings | None = None) -> dict[str, int]:
    """Texts that mean a category, and its place: those of `read_keys`, as Python, numpy and data frames write its value
    where that means no other category, and those that a file has (`spelled`), which come before all others.
    """
    keys = read_keys(categories)
    others = dict.fromkeys(_others(categories, keys))
    once = Counter(text for text, _ in others)
    keys |= {text: place for text, place in others if once[text] == 1}
    for text, category in (spelled or {}).items():
        keys.pop(text, None)
        if category is not None:
            keys[text] = int(places_of([category], categories)[0])
    return keys


def _others(categories: Sequence[str], keys: Mapping[str, int]) -> list[tuple[str, int]]:
    places = places_of([canonical(category) for category in categories], categories).tolist()
    return [
        (space + text, place)
        for category, place in zip(categories, places, strict=True)
        for text in other_spellings(category)
        for space in ("", " ")
        if space + text not in keys
    ]


def whole_number_keys(categories: Sequence[str]) -> dict[int, int]:
    """Whole numbers of 64 bits that mean a category, and its place."""
    keys = {int(text): place for text, place in read_keys(categories).items() if WHOLE.fullmatch(text)}
    return {number: place for number, place in keys.items() if -(2**63) <= number < 2**63}


def boolean_keys(categories: Sequence[str]) -> dict[int, int]:
    """The place of `false` by 0 and of `true` by 1, where they are categories."""
    keys = read_keys(categories)
    return {number: keys[text] for text, number in (("false", 0), ("true", 1)) if text in keys}


def meanings(column: str, written: Written, places: NDArray[np.int64], categories: Sequence[str]) -> Meanings:
    """What the texts of a column mean, beside the usual spellings: `places` int64 [N] are those of its rows.

    A text that stands in the file means what the reader made of it. What else programs make of a value counts where it
    means one category alone.
    """
    codes, first = np.unique(written.codes, return_index=True)
    texts_of = written.texts()
    values = list(zip([texts_of[code] for code in codes.tolist()], places[first].tolist(), strict=True))
    own: dict[str, int] = {}
    for texts, place in values:
        if own.setdefault(texts[0], place) != place:
            return Meanings({}, _ambiguous(column, texts[0], categories, own[texts[0]], place))
    further: dict[str, int | None] = {}
    for texts, place in values:
        for text in texts[1:]:
            if text not in own and further.setdefault(text, place) != place:
                further[text] = None
    usual = text_keys(categories)
    other = len(categories)
    spelled = {text: place for text, place in own.items() if usual.get(text, other) != place}
    spelled |= {
        text: place for text, place in further.items() if place is not None and text not in usual and place != other
    }
    return Meanings({text: None if place == other else categories[place] for text, place in spelled.items()})


def _ambiguous(column: str, text: str, categories: Sequence[str], *places: int) -> str:
    meant = " and ".join(f"`{categories[place]}`" if place < len(categories) else "none" for place in sorted(places))
    return (
        f"the column `{column}` has rows that are written `{text[:60]}` and mean different categories, {meant}: write "
        "one of them in another way, such as a word of its own for a missing value"
    )


def too_many(columns: Sequence[Meanings]) -> str | None:
    """Why the spellings of an input are not kept; None where they are."""
    texts = [text for each in columns for text in each.spelled]
    if len(texts) <= MOST_SPELLINGS and sum(map(len, texts)) <= MOST_CHARACTERS:
        return None
    return (
        f"its categories have {len(texts)} unusual spellings, {MOST_SPELLINGS} of {MOST_CHARACTERS} characters "
        f"together are kept, such as `{texts[0][:60]}`: write each category in one way"
    )
