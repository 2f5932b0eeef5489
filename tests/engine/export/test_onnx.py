"""ONNX exports equal torch's outputs, at any batch size, or the job fails by name."""

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from pydantic import TypeAdapter

from app.contracts.problems import UserError
from app.contracts.specs.architectures import Architecture
from tests.engine.export.raw_students import checked, raw_student
from workers.engine.export.onnx import export_onnx
from workers.engine.models import Network, build, initialise

ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
SEVERAL = {"digit": 10, "size-cm": 1}
SPECS = {
    "mlp": {"family": "mlp", "input_shape": [12], "hidden": [16, 8], "activation": "gelu", "dropout": 0.3,
            "normalization": "layer", "outputs": SEVERAL},
    "convnet": {"family": "convnet", "input_shape": [1, 8, 8], "channels": [4, 6], "blocks": 2, "hidden": [8],
                "activation": "silu", "outputs": SEVERAL},
    "series": {"family": "convnet", "input_shape": [2, 40], "channels": [4, 6], "blocks": 2, "outputs": SEVERAL},
    "resnet": {"family": "resnet", "input_shape": [3, 8, 8], "depth": 8, "outputs": SEVERAL},
}  # fmt: skip


def network(spec: dict[str, object], seed: int = 5) -> Network:
    """A network in training mode, with running statistics that are not those of a new one."""
    built = build(ARCHITECTURE.validate_json(json.dumps(spec)))
    initialise(built, seed=seed)
    with torch.no_grad():
        built(rows_for(built, 32) + 0.5)
    return built


def rows_for(built: Network, count: int) -> torch.Tensor:
    return torch.randn(count, *built.input_shape, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("family", SPECS)
def test_onnx_runtime_gives_torchs_outputs(family: str, tmp_path: Path) -> None:
    built = network(SPECS[family])
    modes = [module.training for module in built.modules()]
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    path = tmp_path / "student.onnx"
    export_onnx(raw_student(built), path, {"card": "# A network"})
    found = checked(path, built, rows_for(built, 70))
    assert found.max_abs_difference < 1e-4 <= found.tolerance
    assert (found.rows, found.opset) == (70, 18)
    assert [module.training for module in built.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


def test_the_graph_has_names_any_batch_size_and_no_trace_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    export_onnx(raw_student(network(SPECS["mlp"]), "pixels"), path, {"card": "# A network"})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["pixels"]
    assert [entry.name for entry in session.get_outputs()] == [
        "digit.logits",
        "digit.probabilities",
        "size-cm.value",
    ]
    for count in (1, 3, 64):
        outputs = session.run(None, {"pixels": torch.randn(count, 12).numpy()})
        assert [output.shape for output in outputs] == [(count, 10), (count, 10), (count, 1)]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert json.loads(model.metadata_props[0].value) == {"card": "# A network"}
    assert {entry.domain for entry in model.opset_import} == {""}
    text = path.read_bytes()
    assert b".py" not in text
    assert str(Path.cwd()).encode() not in text


def test_equal_networks_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_onnx(raw_student(network(SPECS["mlp"])), tmp_path / f"{name}.onnx", {"card": "c"})
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize(("name", "public"), [("x", "x"), ("x.logits", "x.logits_input"), ("linear", "linear")])
def test_an_output_called_like_the_input_keeps_its_name(name: str, public: str, tmp_path: Path) -> None:
    built = network({"family": "mlp", "input_shape": [4], "hidden": [], "outputs": {"x": 3}})
    export_onnx(raw_student(built, name), tmp_path / "a.onnx", {})
    assert checked(tmp_path / "a.onnx", built, rows_for(built, 5), public).max_abs_difference < 1e-5


def test_outputs_of_any_name_are_exported(tmp_path: Path) -> None:
    """Traps: values inside the graph are called `linear` or `relu`, and heads `type` or `size.cm` are no attributes."""
    names = ["linear", "relu", "conv2d", "size.cm", "type", "training", "a", "a.weight", "a.logits", "x"]
    outputs = {name: size for size, name in enumerate(names, start=2)}
    built = network({"family": "convnet", "input_shape": [1, 6, 6], "channels": [3], "outputs": outputs})
    export_onnx(raw_student(built), tmp_path / "a.onnx", {})
    found = checked(tmp_path / "a.onnx", built, rows_for(built, 5))
    assert list(found.outputs) == [f"{name}.{what}" for name in names for what in ("logits", "probabilities")]


def test_a_graph_that_differs_from_torch_is_refused(tmp_path: Path) -> None:
    export_onnx(raw_student(network(SPECS["mlp"], seed=1)), tmp_path / "a.onnx", {})
    another = network(SPECS["mlp"], seed=2)
    with pytest.raises(UserError, match=r"`digit\.logits` differs from the engine's") as caught:
        checked(tmp_path / "a.onnx", another, rows_for(another, 20))
    assert caught.value.code == "export_mismatch"


def test_a_number_that_is_not_finite_is_no_match(tmp_path: Path) -> None:
    built = network(SPECS["mlp"])
    export_onnx(raw_student(built), tmp_path / "a.onnx", {})
    with torch.no_grad():
        built.head("digit").weight.fill_(torch.nan)
    with pytest.raises(UserError, match="differs from the engine's"):
        checked(tmp_path / "a.onnx", built, rows_for(built, 20))


def test_the_tolerance_grows_with_large_outputs(tmp_path: Path) -> None:
    built = network({"family": "mlp", "input_shape": [4], "hidden": [], "outputs": {"digit": 3}})
    with torch.no_grad():
        built.head("digit").weight.mul_(1e4)
    export_onnx(raw_student(built), tmp_path / "a.onnx", {})
    rows = rows_for(built, 20)
    found = checked(tmp_path / "a.onnx", built, rows).outputs["digit.logits"]
    assert found.tolerance == pytest.approx(1e-4 * built(rows)["digit"].abs().max().item(), rel=1e-3)
