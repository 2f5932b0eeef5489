"""What `tokenizer_config.json` says beside a tokenizer, and the types that the tokenizer gives to tokens of pairs.

transformers applies some settings of `tokenizer_config.json` over those of `tokenizer.json`, which alone is used here:
a folder whose two files disagree is refused, as its ids would be others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

from tokenizers import Encoding, Tokenizer

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import MOST_TOKENS
from workers.engine.data.texts.tokenizer import FILE_NAME, TextTokenizer, unusable

_CONFIG: Final = "tokenizer_config.json"
_PAIRS: Final = (("a", "b"), ("red owl", "a b c"), ("a. b", "c, d"), ("", "a"))
_TYPES: Final = "token_type_ids"
_TYPES_BY_CLASS: Final = 5
_WITH_TYPES: Final = (
    "BertTokenizer",
    "DebertaV2Tokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
)
T = TypeVar("T")


@dataclass(frozen=True)
class TokenSettings:
    """A tokenizer with the settings beside it; those that disagree are refused where they are first needed."""

    tokenizer: TextTokenizer
    document: Mapping[str, Any]
    """`tokenizer_config.json`; empty where there is none."""

    def __post_init__(self) -> None:
        """Raises UserError `unusable_tokenizer` where a setting says something else than the tokenizer does."""
        _guarded(lambda: self._probes)  # a tokenizer that fails does so here
        _guarded(self._check_letters)
        _guarded(self._check_spaces)
        _guarded(self._check_ends)

    @cached_property
    def _words(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer.content.decode())

    @cached_property
    def _probes(self) -> tuple[Encoding, ...]:
        """A text, and pairs of them."""
        return (self._words.encode("a b"), *(self._words.encode(*each) for each in _PAIRS))

    def _check_letters(self) -> None:
        for key, letter, changed in (("do_lower_case", "A", "a"), ("strip_accents", "é", "e")):
            wanted = self.document.get(key)
            done = changed in self._normalised(letter)
            if isinstance(wanted, bool) and wanted != done:
                raise _disagree(key, wanted, f"makes {self._normalised(letter)!r} of {letter!r}")

    def _normalised(self, text: str) -> str:
        normalizer = self._words.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    def _check_spaces(self) -> None:
        wanted = self.document.get("add_prefix_space")
        steps = self._words.pre_tokenizer
        if not isinstance(wanted, bool) or steps is None or "ByteLevel" not in repr(steps):
            return
        (first, _), *_ = steps.pre_tokenize_str("a")
        if wanted != first.startswith("Ġ"):
            raise _disagree("add_prefix_space", wanted, f"makes {first!r} of 'a'")

    def _check_ends(self) -> None:
        ids = self._words.encode("a").ids
        for key, token, place in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
            wanted, name = self.document.get(key), self.document.get(token)
            text = name.get("content") if isinstance(name, dict) else name
            if not isinstance(wanted, bool) or not isinstance(text, str):
                continue
            if wanted != (bool(ids) and ids[place] == self._words.token_to_id(text)):
                raise _disagree(key, wanted, f"makes {ids[:8]} of 'a'")

    def separator(self) -> int | None:
        """The id behind which the tokens of a pair have type 1; None where the tokenizer gives one type to all.

        Networks read ids alone, so types must follow from them. Raises UserError `unusable_tokenizer` where they do
        not.
        """
        if not any(any(each.type_ids) for each in self._probes):
            return None
        pair = self._probes[1]
        first = pair.type_ids.index(1) if 1 in pair.type_ids else 0
        separator = int(pair.ids[first - 1]) if first else -1
        if not all(_types(each, separator) == each.type_ids for each in self._probes):
            raise unusable(
                "the types of tokens of a pair do not follow from its ids: expected 0 up to the first separator and 1 "
                "behind it"
            )
        return separator

    def gives_types(self, version: str) -> bool:
        """Whether transformers of this version hands the types of its tokens to a network that has some.

        Versions before 5 do for every fast tokenizer of such a network; later ones for classes that say so.
        """
        names = self.document.get("model_input_names")
        if isinstance(names, list):
            return _TYPES in names
        major = version.partition(".")[0]
        if not major.isdecimal() or int(major) < _TYPES_BY_CLASS:
            return True
        kind = self.document.get("tokenizer_class")
        return not isinstance(kind, str) or kind.removesuffix("Fast") in _WITH_TYPES

    def length(self, places: int) -> int:
        """Most tokens of a row, of a network with so many places for them. Raises UserError `unusable_tokenizer`."""
        found = self.document.get("model_max_length", MOST_TOKENS)
        if isinstance(found, bool) or not isinstance(found, int | float) or not found >= 1:
            raise UserError(
                "unusable_tokenizer",
                f"`model_max_length` of {_CONFIG} is {str(found)[:100]!r}, expected 1 or more: correct it, or leave it "
                "out",
            )
        length = min(places, MOST_TOKENS, int(min(found, MOST_TOKENS)))
        special = _guarded(lambda: self._words.num_special_tokens_to_add(True))
        if length <= special:
            raise UserError(
                "unusable_tokenizer",
                f"rows of {length} tokens have no place for a text beside {special} special tokens: correct "
                f"`model_max_length` of {_CONFIG} or the positions of config.json",
            )
        return length

    def notes(self, *, is_alike_padded_before: bool) -> tuple[dict[str, str], ...]:
        """Warnings of what is done otherwise here. `is_alike_padded_before`: whether the network answers alike with the
        padding before the tokens.
        """
        cut = self.document.get("truncation_side", self.tokenizer.truncation_side)
        filled = self.document.get("padding_side", self.tokenizer.padding_side)
        found = []
        if cut == "left":
            message = (
                "the tokenizer cuts the beginning of long texts (`truncation_side`: left), and here they lose their "
                "end: answers to long texts differ"
            )
            found.append({"code": "texts_lose_their_end", "message": message})
        if filled == "left" and not is_alike_padded_before:
            message = (
                "the tokenizer puts padding before a text (`padding_side`: left), and here it is behind: this network "
                "counts places from the start of a row or reads the first one, so that its answers in batches of "
                "transformers differ with the padding; those here are those of a text alone"
            )
            found.append({"code": "texts_padded_behind", "message": message})
        return tuple(found)


def _types(encoding: Encoding, separator: int) -> list[int]:
    """As the network derives them of the ids."""

    def derived() -> Iterator[int]:
        seen = False
        for each in encoding.ids:
            yield int(seen)
            seen = seen or each == separator

    return list(derived())


def _disagree(key: str, wanted: bool, does: str) -> UserError:
    return UserError(
        "unusable_tokenizer",
        f"`{key}` of {_CONFIG} is {wanted}, and `{FILE_NAME}` {does}: save the tokenizer again by `save_pretrained`, "
        "so that both files agree",
    )


def _guarded(call: Callable[[], T]) -> T:
    """What a call of the library tokenizers gives; what it raises as a UserError `unusable_tokenizer`."""
    try:
        return call()
    except (UserError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise unusable(f"it does not encode a text ({str(error).partition(chr(10))[0][:200]})") from None
