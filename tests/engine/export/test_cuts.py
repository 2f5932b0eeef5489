"""One task's cut of a student: a file that runs alone, holds what the task reaches, and predicts the same bits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app.contracts.layouts.cut_files import LENGTH_BYTES, CutFile, header_length
from app.contracts.layouts.summary import parameter_count
from app.contracts.resources.manifests import ClassOutput, InputTransform, ModelManifest, OutputSpec, ValueOutput
from tests.engine.harness import EngineHarness, blobs
from tests.engine.jobs.interrupted_jobs import TRAINING
from tests.engine.models.sharing.networks import (
    ALL,
    OUTPUTS,
    SCHEMES,
    STUDENTS,
    TASKS,
    rows_for,
    shared,
    with_running_statistics,
)
from workers.engine.export.model_card import Provenance, metadata
from workers.engine.export.safetensors import export_safetensors
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.models import Network, build
from workers.engine.models.loading import load_weights

KINDS: dict[str, OutputSpec] = {
    "left": ClassOutput(kind="class"),
    "size.cm": ValueOutput(kind="value", mean=3.0, std=2.0),
    "total": ClassOutput(kind="class"),
}
METRICS = {"left": {"accuracy": 0.5}, "size.cm": {"rmse": 2.0}, "total": {"accuracy": 0.25}}
MODEL: dict[str, Any] = {"name": "cut", "format": "safetensors"}


def exported(network: Network, path: Path) -> None:
    document = metadata(
        network.architecture,
        {"x": InputTransform(scale=0.5)},
        {name: KINDS[name] for name in network.output_sizes},
        Provenance(kind="multitask", datasets=("0" * 64,), metrics=METRICS),
    )
    export_safetensors(network, path, document)


def cut(path: Path, task: str) -> Path:
    """The cut of a file, as the API puts it together."""
    data = path.read_bytes()
    start = LENGTH_BYTES + header_length(data[:LENGTH_BYTES])
    found = CutFile(data[LENGTH_BYTES:start]).cut(task)
    target = path.with_name(f"{path.stem}-{task}.safetensors")
    target.write_bytes(found.head + b"".join(data[start + first : start + last] for first, last in found.spans))
    return target


def loaded(path: Path) -> tuple[Network, ModelManifest]:
    """By nothing but what the file says of itself, through the inspection that an upload has."""
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()["stillhouse"])
    fields = {name: document[name] for name in ("architecture", "inputs", "outputs")}
    manifest = ModelManifest.model_validate_json(json.dumps(MODEL | fields))
    facts = inspect_family_model(path, manifest)
    assert facts.architecture is not None
    network = build(facts.architecture)
    network.load_state_dict(load_weights(path, manifest, facts.architecture))
    return network.eval(), manifest


@pytest.mark.parametrize(("family", "scheme"), ALL)
def test_a_cut_runs_alone_and_predicts_the_same_bits(family: str, scheme: str, tmp_path: Path) -> None:
    whole = with_running_statistics(shared(family, scheme))
    exported(whole, tmp_path / "whole.safetensors")
    for task in OUTPUTS:
        network, manifest = loaded(cut(tmp_path / "whole.safetensors", task))
        assert list(network.output_sizes) == list(manifest.outputs) == [task]
        for count in (1, 5, 64):
            rows = rows_for(whole, count)
            assert torch.equal(network(rows)[task], whole(rows)[task])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_cut_holds_what_its_task_reaches_and_nothing_else(scheme: str, tmp_path: Path) -> None:
    whole = with_running_statistics(shared("convnet", scheme))
    exported(whole, tmp_path / "whole.safetensors")
    kept = set(load_file(cut(tmp_path / "whole.safetensors", "left")))
    parts = {name.split(".")[0] for name in kept}
    assert (
        parts
        == {
            "hard": {"stages", "layers"},
            "cross_stitch": {"towers", "stitches", "heads"},
            "mmoe": {"experts", "gates", "heads"},
            "cgc": {"shared", "experts", "gates", "heads"},
            "mtan": {"trunk", "passages", "attentions", "heads"},
            "trunks": {"stages", "layers"},
        }[scheme]
    )
    if scheme not in ("hard", "trunks"):
        named = {name.split(".")[1] for name in kept if name.startswith(("gates.", "heads.", "attentions."))}
        assert named == {"left"}
    if scheme == "cgc":
        assert not any(name.startswith(("experts.total", "experts.size")) for name in kept)
    if scheme == "cross_stitch":
        assert {name for name in whole.state_dict() if not name.startswith(("heads.total", "heads.size"))} == kept


@pytest.mark.parametrize("scheme", ["hard", "trunks"])
def test_the_cut_of_a_plain_trunk_is_a_plain_network_of_the_family(scheme: str, tmp_path: Path) -> None:
    exported(with_running_statistics(shared("resnet", scheme)), tmp_path / "whole.safetensors")
    network, _ = loaded(cut(tmp_path / "whole.safetensors", "size.cm"))
    plain = shared("resnet", "hard", {"size.cm": 1})
    assert network.architecture == plain
    assert sum(value.numel() for value in network.parameters()) == parameter_count(plain)


def test_a_cut_of_a_cut_is_the_cut_and_equal_cuts_are_equal_bytes(tmp_path: Path) -> None:
    exported(with_running_statistics(shared("convnet", "mmoe")), tmp_path / "whole.safetensors")
    first = cut(tmp_path / "whole.safetensors", "total")
    bytes_of_first = first.read_bytes()
    assert cut(tmp_path / "whole.safetensors", "total").read_bytes() == bytes_of_first
    again = load_file(cut(first, "total"))
    assert again.keys() == load_file(first).keys()
    assert all(torch.equal(value, again[name]) for name, value in load_file(first).items())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_cut_says_what_it_is_and_nothing_of_the_other_tasks(scheme: str, tmp_path: Path) -> None:
    exported(with_running_statistics(shared("flat", scheme)), tmp_path / "whole.safetensors")
    with safe_open(cut(tmp_path / "whole.safetensors", "size.cm"), "pt") as file:
        document = json.loads(file.metadata()["stillhouse"])
    assert document["architecture"]["outputs"] == {"size.cm": 1}
    assert document["outputs"] == {"size.cm": {"kind": "value", "mean": 3.0, "std": 2.0}}
    assert document["inputs"]["x"]["scale"] == 0.5
    card = document["card"]
    assert "that `size.cm` reaches" in card
    assert ("- `size.cm`: rmse 2" in card, "- `size.cm`: one number" in card) == (True, True)
    assert not any(line.startswith(("- `left`", "- `total`")) for line in card.split("\n"))
    assert "accuracy" not in card


def test_a_cut_begins_its_data_on_eight_bytes_and_leaves_no_hole(tmp_path: Path) -> None:
    """The counters of BatchNorm are of 8 bytes, and readers map the file."""
    exported(with_running_statistics(shared("convnet", "trunks")), tmp_path / "whole.safetensors")
    data = cut(tmp_path / "whole.safetensors", "left").read_bytes()
    start = LENGTH_BYTES + header_length(data[:LENGTH_BYTES])
    entries = json.loads(data[LENGTH_BYTES:start])
    del entries["__metadata__"]
    assert start % 8 == 0
    places = sorted(entry["data_offsets"] for entry in entries.values())
    assert [start for start, _ in places] == [0, *(end for _, end in places[:-1])]
    assert places[-1][1] == len(data) - start


def test_a_file_that_is_none_of_ours_has_no_cut(tmp_path: Path) -> None:
    save_file({"layers.0.weight": torch.zeros(2, 2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(KeyError):
        cut(tmp_path / "foreign.safetensors", "left")
    exported(with_running_statistics(shared("mlp", "hard")), tmp_path / "whole.safetensors")
    with pytest.raises(KeyError):
        cut(tmp_path / "whole.safetensors", "right")


@pytest.mark.parametrize("scheme", STUDENTS)
def test_the_cut_of_a_jobs_student_predicts_the_same_bits(scheme: str, tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    harness.dataset(blobs(features=16))
    harness.run({"kind": "multitask", "tasks": TASKS, "student": STUDENTS[scheme], "training": TRAINING})
    path = harness.outputs() / "student.safetensors"
    whole, _ = loaded(path)
    rows = torch.from_numpy(blobs(features=16)["x"])
    for task in ("label", "side", "size"):
        network, _ = loaded(cut(path, task))
        assert torch.equal(network(rows)[task], whole(rows)[task])
