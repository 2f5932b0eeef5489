"""`shape` reshapes flat rows alone, `layout` moves the channels to the front once, in every format."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts.resources.manifests import DatasetManifest
from tests.engine.data.test_reading import arrays, images
from tests.engine.jobs.inspection.uploads import refused
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset

X = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)


def test_channels_last_moves_the_last_side_to_the_front(tmp_path: Path) -> None:
    found = images(tmp_path, X, layout="channels_last").inputs["x"]
    assert found.is_contiguous()
    assert found.tolist() == X.transpose(0, 3, 1, 2).tolist()


def test_the_shape_of_flat_rows_is_that_in_the_file_before_the_layout(tmp_path: Path) -> None:
    found = images(tmp_path, X.reshape(2, -1), shape=[4, 5, 3], layout="channels_last").inputs["x"]
    assert found.tolist() == X.transpose(0, 3, 1, 2).tolist()


def test_channels_first_changes_nothing(tmp_path: Path) -> None:
    assert images(tmp_path, X, layout="channels_first").inputs["x"].tolist() == X.tolist()


def test_a_shape_does_not_reinterpret_rows_that_have_one(tmp_path: Path) -> None:
    message = refused("layout_mismatch", lambda: images(tmp_path, X, shape=[3, 4, 5]))
    assert "rows of shape [4, 5, 3], which cannot be read as [3, 4, 5]" in message
    assert '"layout": "channels_last"' in message


def test_a_shape_after_the_layout_is_refused_with_the_reason(tmp_path: Path) -> None:
    message = refused("layout_mismatch", lambda: images(tmp_path, X, shape=[3, 4, 5], layout="channels_last"))
    assert "before `layout`" in message


def test_flat_rows_have_no_channels_to_move(tmp_path: Path) -> None:
    message = refused("shape_mismatch", lambda: images(tmp_path, X.reshape(2, -1), layout="channels_last"))
    assert "say their `shape` in the file" in message


@pytest.mark.parametrize("shape", [[1, 4, 5, 3], [4, 5, 3]])
def test_sides_of_one_may_be_added(shape: Any, tmp_path: Path) -> None:
    assert images(tmp_path, X, shape=shape).inputs["x"].shape == (2, *shape)


def test_the_facts_have_the_shape_after_the_layout(tmp_path: Path) -> None:
    path = arrays(tmp_path, x=X, y=np.arange(2))
    manifest = DatasetManifest.model_validate(
        {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array", "layout": "channels_last"}}}
    )
    facts = facts_of(read_dataset(path, manifest), manifest).inputs["x"]
    assert (facts.shape, facts.layout) == ((3, 4, 5), "channels_last")
