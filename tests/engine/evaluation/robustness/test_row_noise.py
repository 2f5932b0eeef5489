"""Row noise: the published generator, and independence of everything but seed and row."""

import pytest
import torch
from scipy import stats

from workers.engine.evaluation.robustness.row_noise import philox, row_normals, row_words

WORD = 1 << 32


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((WORD - 1,) * 4, (WORD - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_it_gives_the_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]) -> None:
    """Random123's known-answer vectors of philox4x32-10."""
    found = philox([torch.tensor([word]) for word in counter], key)
    assert tuple(int(word) for word in found) == words


def written_out(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in Python's own integers."""
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (second // WORD) ^ counter[1] ^ key[0], second % WORD, (first // WORD) ^ counter[3] ^ key[1], first % WORD
        ]  # fmt: skip
        key = [(key[0] + 0x9E3779B9) % WORD, (key[1] + 0xBB67AE85) % WORD]
    return counter


def test_words_of_a_row_come_from_its_own_counters() -> None:
    rows = [0, 5, 2**31 + 7, 2**40 + 3]
    found = row_words(123_456_789_012_345, torch.tensor(rows), 3)
    key = [123_456_789_012_345 % WORD, 123_456_789_012_345 // WORD]
    for k, row in enumerate(rows):
        expected = [word for block in range(3) for word in written_out([block, 0, row % WORD, row // WORD], key)]
        assert found[k].tolist() == expected


def test_a_rows_noise_does_not_depend_on_its_batch() -> None:
    whole = row_normals(7, torch.arange(100), 30)
    some = torch.tensor([93, 4, 4, 17])
    assert torch.equal(row_normals(7, some, 30), whole[some])


def test_a_longer_row_begins_like_a_shorter_one() -> None:
    assert torch.equal(row_normals(7, torch.arange(5), 37)[:, :10], row_normals(7, torch.arange(5), 10))


def test_portions_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = row_normals(1, torch.arange(50), 64)
    monkeypatch.setattr("workers.engine.evaluation.robustness.row_noise._BLOCKS_AT_ONCE", 100)
    assert torch.equal(row_normals(1, torch.arange(50), 64), whole)


def test_it_is_standard_normal() -> None:
    noise = row_normals(3, torch.arange(400), 250).double().reshape(-1)
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01
    assert float(noise.std()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("first", "other"), [((1, 0), (2, 0)), ((1, 0), (1, 1)), ((1, 0), (1 + WORD, 0))])
def test_other_seeds_and_rows_have_other_noise(first: tuple[int, int], other: tuple[int, int]) -> None:
    one, two = (row_normals(seed, torch.tensor([row]), 20_000)[0] for seed, row in (first, other))
    correlation = torch.corrcoef(torch.stack([one, two]))[0, 1]
    assert abs(float(correlation)) < 4 / 20_000**0.5


def test_neighbours_in_a_row_are_independent() -> None:
    noise = row_normals(2, torch.arange(200), 400)
    pairs = torch.corrcoef(torch.stack([noise[:, :-1].reshape(-1), noise[:, 1:].reshape(-1)]))
    assert abs(float(pairs[0, 1])) < 4 / 80_000**0.5


def test_no_rows_have_no_noise() -> None:
    assert row_normals(0, torch.empty(0, dtype=torch.int64), 9).shape == (0, 9)
