"""What the benchmark of defaults measures and compares, on a small data set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.accuracy.defaults.campaign import Campaign
from tests.benchmarks.accuracy.defaults.cells import Cell, Cells
from tests.benchmarks.accuracy.defaults.document import document
from tests.benchmarks.accuracy.defaults.grid import PLAIN, RECIPE, grid, screening_seeds
from tests.benchmarks.accuracy.defaults.sets import images
from tests.benchmarks.accuracy.defaults.sets.catalogue import MAKERS
from tests.benchmarks.accuracy.defaults.sets.data_set import SHORT, DataSet, without_labels
from tests.benchmarks.accuracy.defaults.tables import line, summary

NAME = "wine"


def _wine() -> DataSet:
    return replace(MAKERS[NAME](), seeds=2, screening=SHORT, standardizations=())


def _filled(folder: Path, data: DataSet, figures: dict[str, float]) -> Campaign:
    """A campaign whose cells are all there: `figures` by setting, else 0.5; the screening finds the same."""
    cells = Cells(folder / "cells.jsonl")
    for setting in (PLAIN, RECIPE, *grid(data)):
        for seed in (*range(data.seeds), *screening_seeds(data)):
            figure = figures.get(setting.name, 0.5)
            cells.add(Cell(NAME, setting.name, seed, figure, 100, 1.0, "abc", "here"))
    return Campaign(cells, say=lambda text: None)


def test_a_cell_that_is_in_the_file_is_not_measured_again(tmp_path: Path) -> None:
    data = _wine()
    campaign = _filled(tmp_path, data, {})
    campaign.cells.add(Cell(NAME, "recipe, as a job", 0, 0.5, 100, 1.0, "abc", "here"))
    before = (tmp_path / "cells.jsonl").read_text()
    Campaign(Cells(tmp_path / "cells.jsonl"), say=lambda text: None).run(NAME, data)
    assert (tmp_path / "cells.jsonl").read_text() == before


def test_regret_is_the_distance_to_the_best_candidate(tmp_path: Path) -> None:
    data = _wine()
    best = grid(data)[4].name
    found = line(_filled(tmp_path, data, {"recipe": 0.92, best: 0.93, "plain": 0.4}), NAME, data)
    assert found is not None
    assert found.best_name == best
    assert found.regret == pytest.approx(1.0)
    assert "mean regret 1.00 points over 1 (at most 1.0); worst 1.00 points" in summary([found])


def test_nothing_is_lost_where_no_candidate_is_better(tmp_path: Path) -> None:
    data = _wine()
    found = line(_filled(tmp_path, data, {"recipe": 0.95, grid(data)[0].name: 0.94}), NAME, data)
    assert found is not None
    assert (found.best_name, found.regret) == ("recipe", 0.0)


def test_regret_of_an_error_is_its_excess_in_percent(tmp_path: Path) -> None:
    data = replace(_wine(), metric="rmse")
    figures = {setting.name: 60.0 for setting in (RECIPE, *grid(data))}
    found = line(_filled(tmp_path, data, {**figures, "recipe": 51.0, grid(data)[1].name: 50.0}), NAME, data)
    assert found is not None
    assert found.best_name == grid(data)[1].name
    assert found.regret == pytest.approx(2.0)


def test_a_data_set_with_missing_cells_has_no_line(tmp_path: Path) -> None:
    data = _wine()
    campaign = _filled(tmp_path, data, {})
    assert line(campaign, NAME, replace(data, seeds=3)) is None


def test_a_call_for_some_data_sets_keeps_the_lines_of_others(tmp_path: Path) -> None:
    data = MAKERS[NAME]()
    written = document(_filled(tmp_path, data, {"recipe": 0.9}))
    assert "| wine (mlp, [4]) |" in written
    new = Campaign(Cells(tmp_path / "new.jsonl"), say=lambda text: None)
    assert document(new, written) == written
    assert "| 91.00 |" in document(_filled(tmp_path, data, {"recipe": 0.91}), written)


def test_forgotten_cells_are_gone_from_the_file(tmp_path: Path) -> None:
    campaign = _filled(tmp_path, _wine(), {})
    kept = Cell("other", "plain", 0, 0.5, 100, 1.0, "abc", "here")
    campaign.cells.add(kept)
    campaign.cells.forget(NAME)
    assert Cells(tmp_path / "cells.jsonl").of(NAME, "recipe", range(2)) == []
    assert Cells(tmp_path / "cells.jsonl").of("other", "plain", range(2)) == [kept]


def test_no_image_of_a_composed_row_is_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(300, 28, 28)).astype(np.uint8)
    monkeypatch.setattr(images, "_mnist", lambda: (noise, np.arange(300) % 10))
    arrays = images.two_digit_numbers().arrays(0)
    halves = np.concatenate([arrays["x"][:, 0, :, :14], arrays["x"][:, 0, :, 14:]])
    splits = np.concatenate([arrays["split"], arrays["split"]])
    seen = {name: {half.tobytes() for half in halves[splits == name]} for name in ("train", "validation", "test")}
    assert {name: len(found) for name, found in seen.items()} == {"train": 192, "validation": 48, "test": 60}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_a_tenth_of_the_training_rows_keeps_its_labels() -> None:
    arrays = _wine().arrays(0)
    found, train = without_labels(arrays, "y", 0.1), arrays["split"] == "train"
    assert (found["y"][train] >= 0).sum() == round(0.1 * train.sum())
    assert (found["y"][~train] == arrays["y"][~train]).all()
