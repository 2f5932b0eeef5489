"""Layers that are not trained: in jobs, and on networks of every kind."""

from typing import Any

import pytest
import torch

from app.contracts.problems import UserError
from app.contracts.specs.training import FrozenUntil, TrainingSpec
from tests.engine.harness import SECOND, EngineHarness, StopAtStep
from tests.engine.jobs.distillation.method_specs import TRAINING as SHORT
from tests.engine.jobs.distillation.method_specs import add_teachers, feature
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.engine.models.library.networks import architecture, with_images
from tests.engine.models.sharing.networks import made, rows_for, shared
from tests.engine.plain_training import plain_settings
from tests.engine.training.tuning.images import (
    MLP,
    RESNET,
    TIMM,
    TOKENS,
    TRAINING,
    VIT,
    Json,
    distill,
    train,
    uploaded,
    with_tokens,
)
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped
from workers.engine.models import build
from workers.engine.models.families.freezing import FrozenLayers
from workers.engine.training.learner import Learner
from workers.engine.training.updates.optimizers import make_optimizer, optimizer_tensors
from workers.engine.training.vectorised.conditions import _is_plain

FREE_AND_FROZEN: list[tuple[str, Json]] = [("free", {}), ("frozen", {"frozen": ["trunk.layer4"]})]


@pytest.fixture
def images(harness: EngineHarness) -> EngineHarness:
    return with_images(harness)


def problems(harness: EngineHarness, spec: Json) -> list[tuple[str, str, str]]:
    return [(each.code, each.pointer, each.detail) for each in harness.dry_run(spec).problems]


def differing(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in before.items() if name in after and not torch.equal(value, after[name])}


@pytest.mark.parametrize("frozen", [["trunk.conv1", "trunk.bn1", "trunk.layer1"], {"until": "trunk.layer2"}])
def test_frozen_layers_of_student_and_control_keep_each_bit_of_weights_and_batch_norm(
    frozen: Any, images: EngineHarness
) -> None:
    uploaded(images, "test_efficientnet")
    given = uploaded(images, "test_resnet", SECOND, seed=5)
    images.run(distill({**TIMM, "pretrained": SECOND}, control=True, frozen=frozen))
    begun = {name for name in given if name.startswith(("conv1.", "bn1.", "layer1."))}
    assert any(name.endswith("running_var") for name in begun)
    for role in ("student", "control"):
        changed = differing(given, images.weights(role=role))
        assert not changed & begun, "weight decay, gradients and statistics"
        assert {"layer2.0.conv1.weight", "layer2.0.bn1.running_mean", "layer2.0.bn1.num_batches_tracked"} <= changed


def test_a_gradient_passes_through_frozen_layers_to_trained_ones_before_them(images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    given = uploaded(images, "test_resnet", SECOND, seed=5)
    term = {"method": "fitnets", "teacher_layer": "trunk.blocks.1", "student_layer": "trunk.layer3"}
    frozen = ["trunk.layer2", "trunk.layer3", "trunk.layer4", "layers"]
    images.run(distill({**TIMM, "pretrained": SECOND}, {"features": [term]}, frozen=frozen))
    changed = differing(given, images.weights())
    assert "layer1.0.conv1.weight" in changed
    assert not [name for name in changed if name.startswith(("layer2.", "layer3.", "layer4.", "fc."))]


def test_a_term_on_a_layer_that_is_frozen_up_to_there_is_refused_by_name(images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    term = {"method": "fitnets", "teacher_layer": "trunk.blocks.1", "student_layer": "trunk.layer1"}
    with pytest.raises(UserError, match=r"`trunk\.layer1`") as caught:
        images.run(distill(TIMM, {"features": [term]}, frozen={"until": "trunk.layer2"}))
    assert caught.value.code == "frozen_layer"


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_optimizer_has_no_state_of_frozen_layers(optimizer: str) -> None:
    network = build(architecture("test_resnet"))
    FrozenLayers(network, FrozenUntil(until="trunk.layer3"))
    training = plain_settings(optimizer=optimizer, weight_decay=0.1)
    made_of = make_optimizer(training, network.parameters())
    network(rows_for(network))["y"].sum().backward()
    made_of.step()
    names = [name for name, _ in network.named_parameters()]
    of = {names[int(key.split("/")[0])] for key in optimizer_tensors(made_of)}
    assert of == {name for name in names if name.startswith(("trunk.layer3", "trunk.layer4", "layers."))}
    assert all(value.grad is None for name, value in network.named_parameters() if name not in of)


CONTINUED: list[tuple[Json, Any]] = [
    (RESNET, {"until": "stages.1"}),
    (RESNET, ["stem", "stages.0.0.conv1"]),
    (TOKENS, {"until": "blocks.2"}),
    (MLP, ["layers.0"]),
    (VIT, {"until": "trunk.blocks.3"}),
    (TIMM, ["trunk"]),
]


@pytest.mark.parametrize(("model", "frozen"), sample(CONTINUED, [CONTINUED[0], CONTINUED[5]]))
def test_a_job_continues_with_frozen_layers_as_if_it_had_not_stopped(
    model: Json, frozen: Any, images: EngineHarness
) -> None:
    if model is TOKENS:
        with_tokens(images)
    images.run(train(model, frozen=frozen), "whole")
    with pytest.raises(Stopped):
        images.run(train(model, frozen=frozen), "parted", stop=StopAtStep(6), checkpoint_seconds=0.0)
    images.run(train(model, frozen=frozen), "parted", attempt=2)
    assert images.digest("whole") == images.digest("parted", attempt=2)
    images.run(train(model), "free")
    assert images.digest("whole") != images.digest("free")


def test_what_comes_before_a_layer_is_what_data_enter_before_it() -> None:
    network = build(architecture("test_vit"))
    FrozenLayers(network, FrozenUntil(until="trunk.blocks.1"))
    still = {name for name, value in network.named_parameters() if not value.requires_grad}
    assert {"trunk.cls_token", "trunk.pos_embed", "trunk.patch_embed.proj.weight"} <= still
    assert {name.split(".")[2] for name in still if name.startswith("trunk.blocks.")} == {"0"}
    assert not [name for name in still if name.startswith(("trunk.norm", "layers."))]


def test_dropout_is_off_in_frozen_blocks_and_on_in_the_others() -> None:
    network = made(shared("transformer", "hard", {"y": 2}, dropout=0.5, depth=3))
    frozen = FrozenLayers(network, ("blocks.0",))
    network.train()
    frozen.evaluate()
    modes = {name: module.training for name, module in network.named_modules(remove_duplicate=False)}
    assert not modes["blocks.0.dropout"]
    assert all(modes[name] for name in ("blocks.1.dropout", "blocks.2.dropout", "dropout"))


def test_a_name_with_a_dot_is_another_head() -> None:
    network = made(shared("mlp", "hard", {"size": 1, "size.cm": 1}))
    FrozenLayers(network, ("heads.size",))
    still = {name for name, value in network.named_parameters() if not value.requires_grad}
    assert still == {"heads.size.weight", "heads.size.bias"}


def test_a_frozen_head_stays_frozen_when_the_phase_of_a_reused_head_ends(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_teachers(harness)
    end_step, with_gradient = Learner.end_step, []

    def watched(learner: Learner, step: int, epoch: int) -> None:
        with_gradient.append(any(each.grad is not None for each in learner.network.head_parameters("label")))
        end_step(learner, step, epoch)

    monkeypatch.setattr(Learner, "end_step", watched)
    term = {"method": "simkd", "phase": {"end": 0.5}}
    student = {"family": "mlp", "hidden": [8, 24]}
    teacher = harness.weights("teacher0")["layers.2.weight"]
    for name, fields in (("free", {}), ("frozen", {"frozen": ["layers.2"]})):
        with_gradient.clear()
        harness.run(feature(term, student=student, training={**SHORT, **fields}, control=False), name)
        assert any(with_gradient) == (name == "free")
        assert torch.equal(harness.weights(name)["layers.2.weight"], teacher) == (name == "frozen")


def test_micro_batches_of_terms_that_compare_rows_go_with_frozen_layers(images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    term = {"method": "rkd", "teacher_layer": "penultimate", "student_layer": "penultimate"}
    cases: list[tuple[str, Json]] = [("whole", {}), ("parts", {"micro_batch_size": 8})]
    for name, extra in cases:
        # Not Adam: it would follow the rounding of key biases, whose gradient is zero.
        extra = {"optimizer": "sgd", "frozen": {"until": "trunk.blocks.4"}, **extra}
        spec = distill(VIT, {"features": [term]}, **extra)
        images.run(spec, name)
    torch.testing.assert_close(images.weights("whole"), images.weights("parts"), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("balancing", ["fixed", "pcgrad", "uncertainty"])
@pytest.mark.parametrize("frozen", [["trunk"], ["heads.size", "trunk.layer1"]])
def test_several_tasks_and_their_baselines_obey(balancing: str, frozen: list[str], images: EngineHarness) -> None:
    given = uploaded(images, "test_resnet", SECOND, seed=5)
    spec = {
        "kind": "multitask",
        "tasks": [{"name": "label"}, {"name": "size"}],
        "student": {**TIMM, "pretrained": SECOND},
        "training": {**TRAINING, "frozen": frozen},
        "balancing": {"method": balancing},
        "baselines": True,
    }
    images.run(spec)
    changed = differing(given, images.weights())
    assert ("layer2.0.conv1.weight" in changed) == (frozen != ["trunk"])
    assert "layer1.0.conv1.weight" not in changed


@pytest.mark.parametrize("model", [TIMM, RESNET])
@pytest.mark.parametrize("frozen", [["stagess.0"], {"until": "trunk.blocks.9"}, ["layer"]])
def test_unknown_names_are_refused_with_those_that_exist(model: Json, frozen: Any, images: EngineHarness) -> None:
    ((code, pointer, detail),) = problems(images, train(model, frozen=frozen))
    assert code == "unknown_layer"
    assert pointer == ("/training/frozen/until" if isinstance(frozen, dict) else "/training/frozen")
    assert "`trunk.layer1`" in detail if model is TIMM else "`stages.0" in detail


def test_the_worker_refuses_names_inside_a_librarys_layers_that_it_does_not_have(images: EngineHarness) -> None:
    with pytest.raises(UserError, match=r"`trunk\.layer1\.0\.conv9`.*`trunk\.layer1\.0\.conv1") as caught:
        images.run(train(TIMM, frozen=["trunk.layer1.0.conv9"]))
    assert caught.value.code == "unknown_layer"
    images.run(train(TIMM, frozen=["trunk.layer1.0.conv1"]))


@pytest.mark.parametrize(
    ("model", "frozen"), [(TIMM, ["trunk", "layers"]), (RESNET, ["stem", "stages", "layers"]), (MLP, ["layers"])]
)
def test_freezing_all_that_could_train_is_refused(model: Json, frozen: list[str], images: EngineHarness) -> None:
    found = problems(images, train(model, frozen=frozen))
    assert [code for code, _, _ in found] == ["nothing_trained"]


def test_the_worker_refuses_a_task_with_nothing_to_train() -> None:
    network = made(shared("mlp", "hard", {"a": 2, "b": 2}, normalization="none"))
    frozen = FrozenLayers(network, ("layers", "heads.a"))
    with pytest.raises(UserError, match="`a`") as caught:
        frozen.check(network, [])
    assert caught.value.code == "nothing_trained"
    with pytest.raises(UserError, match="all layers"):
        FrozenLayers(network, ("layers", "heads"))


def test_what_frozen_layers_do_not_go_with_is_refused(images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    mutual = {**distill(RESNET, frozen=["stem"]), "mutual": {"peers": [RESNET]}}
    assert [code for code, _, _ in problems(images, mutual)] == ["not_with_mutual"]
    aware = {**train(RESNET, frozen=["stem"]), "quantization": {}}
    assert [code for code, _, _ in problems(images, aware)] == ["not_with_quantization"]
    trunks = {
        "kind": "multitask",
        "tasks": [{"name": "label"}, {"name": "size"}],
        "student": {**RESNET, "sharing": "cross_stitch"},
        "training": {**TRAINING, "frozen": ["towers.label.stem"], "layer_decay": 0.5},
    }
    found = problems(images, trunks)
    assert {(code, pointer) for code, pointer, _ in found} == {
        ("hard_sharing_needed", "/training/frozen"),
        ("hard_sharing_needed", "/training/layer_decay"),
    }


def test_random_weights_that_stay_are_told(images: EngineHarness) -> None:
    order = images.order(train(RESNET, frozen=["stem"]))
    assert "frozen_at_random" in [each["code"] for each in order.warnings]
    uploaded(images, "test_resnet", SECOND)
    order = images.order(train({**TIMM, "pretrained": SECOND}, frozen=["trunk.conv1"]))
    assert "frozen_at_random" not in [each["code"] for each in order.warnings]


def test_what_is_left_out_is_in_no_document() -> None:
    names = {"frozen", "layer_decay", "gradient_checkpointing"}
    for spec in (TrainingSpec(), TrainingSpec.model_validate_json('{"gradient_checkpointing": false}')):
        assert not names & spec.model_dump(mode="json").keys()


@pytest.mark.parametrize("field", [{"frozen": ["layers.0"]}, {"layer_decay": 0.5}, {"gradient_checkpointing": True}])
def test_such_learners_are_not_vectorised(field: Json) -> None:
    assert _is_plain(plain_settings())
    assert not _is_plain(plain_settings(**field))


def test_several_seeds_of_frozen_layers_train_one_after_another(images: EngineHarness) -> None:
    uploaded(images, "test_efficientnet")
    images.run({**distill(MLP, frozen=["layers.0"]), "repeats": 2})
    assert images.outputs().exists()


def test_the_preflight_says_that_a_term_teaches_a_frozen_layer_and_counts_what_is_trained(
    images: EngineHarness,
) -> None:
    uploaded(images, "test_efficientnet")
    term = {"method": "fitnets", "teacher_layer": "trunk.blocks.1", "student_layer": "trunk.layer1"}
    report = preflight(images, distill(TIMM, {"features": [term]}, frozen={"until": "trunk.layer2"}))
    assert [each.code for each in report.would_fail] == ["frozen_layer"]
    found = [preflight(images, train(TIMM, **fields), name=name) for name, fields in FREE_AND_FROZEN]
    free, still = ((report.memory.gradients or 0, report.memory.optimizer or 0) for report in found)
    assert 0 < still[0] < 0.9 * free[0]
    assert 0 < still[1] < 0.9 * free[1]
