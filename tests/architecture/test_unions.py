"""A method declares itself: every member of a union has its ClassVars, is dispatched, and cannot be forgotten."""

import ast
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from torch import Tensor

from app.contracts.base import Contract, members, method_of
from app.contracts.problems import UserError
from app.contracts.resolving.multitask.relations import source_of
from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from app.contracts.specs.balancing import Balancing, DwaBalancing, GradientBalancing, PcgradBalancing
from app.contracts.specs.distillation import (
    DEFAULT_TERMS,
    FeatureTerm,
    KdTerm,
    LayerShapes,
    LogitTerm,
    NumberTerm,
    SimilarityTerm,
    SoftTargetTerm,
    TaskKind,
)
from app.contracts.specs.jobs import WITHOUT_STUDENT, AnyJob, AnyTrainingJob, JobKind, SubmittableJob
from app.contracts.specs.relations import RelationSpec
from app.contracts.specs.sharing import SharingName, scheme_of
from app.contracts.specs.training import Schedule
from workers.engine.balancing import make_balancer
from workers.engine.balancing.combinations import COMBINATIONS
from workers.engine.data.rows.columns import Rows
from workers.engine.evaluation.metrics import task_metrics
from workers.engine.evaluation.verdict import contributions, delta_m, judge, repeats
from workers.engine.export import model_card
from workers.engine.losses.feature_losses import FeatureTargets, TeacherLayer, feature_method
from workers.engine.losses.regression_losses import NumberTargets, number_formula
from workers.engine.losses.soft_target_losses import (
    ClassSoftTargets,
    LabelSoftTargets,
    PositionSoftTargets,
    class_formula,
    exits_of,
    label_formula,
)
from workers.engine.losses.teacher_mix import TeacherEnsemble, TeacherOutputs
from workers.engine.losses.term import TermInputs
from workers.engine.training.updates.lr_schedules import factor

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
ROWS = 6
OUTPUTS: Mapping[TaskKind, tuple[OutputSpec, int]] = {
    "class": (ClassOutput(kind="class"), 4),
    "token_class": (TokenClassOutput(kind="token_class"), 4),
    "map": (MapOutput(kind="map", shape=(1, 2)), 4),
    "multilabel": (MultilabelOutput(kind="multilabel"), 3),
    "value": (ValueOutput(kind="value"), 1),
    "vector": (VectorOutput(kind="vector"), 3),
}
SHAPES: Mapping[LayerShapes, tuple[int, ...]] = {
    "any": (8,),
    "maps": (3, 4, 4),
    "maps_or_vectors": (3, 4, 4),
    "tokens": (5, 8),
    "same_kind": (8,),
    "equal": (8,),
}
METHODS = [*members(SoftTargetTerm), *members(FeatureTerm), *members(Balancing)]


def named(cls: type[BaseModel]) -> str:
    return cls.__name__


def class_vars(cls: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """(name, type) of everything that a contract and its bases declare beside its fields."""
    hints = get_type_hints(cls, include_extras=True)
    for name in sorted(cls.__class_vars__ - Contract.__class_vars__):
        assert get_origin(hints[name]) is ClassVar, name
        yield name, get_args(hints[name])[0]


def check_declared(cls: type[BaseModel]) -> None:
    """Raises where a ClassVar is missing, or has another type than its base declares."""
    for name, wanted in class_vars(cls):
        TypeAdapter(wanted).validate_python(getattr(cls, name), strict=True)


def default(cls: Any) -> Any:
    layers: dict[str, Any] = {"teacher_layer": "penultimate", "student_layer": "penultimate"}
    named = {**layers, "layers": (layers, layers), "student_layers": ("penultimate",)}
    document: dict[str, Any] = {"method": method_of(cls)}
    document |= {field: value for field, value in named.items() if field in cls.model_fields}
    fields = {name: cls.model_fields[name] for name in ("weight", "temperature") if name in cls.model_fields}
    document |= {name: 2.0 for name, field in fields.items() if field.default is None}  # what the recipe would choose
    return cls.model_validate(document)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows() -> Rows:
    return Rows.on(CPU, torch.arange(ROWS))


def losses_of(term: Any, kind: TaskKind) -> tuple[Tensor, bool]:
    """(the losses of a soft target on random outputs, whether the term of the engine is relational)."""
    spec, size = OUTPUTS[kind]
    teacher = (TeacherOutputs(drawn(ROWS, size, seed=1), spec, 1.0),)
    made: ClassSoftTargets | PositionSoftTargets | LabelSoftTargets | NumberTargets
    match kind:
        case "token_class" | "map":
            teacher = (TeacherOutputs(drawn(ROWS, 2, size, seed=1), spec, 1.0),)
            labels = (torch.arange(2 * ROWS) % size).reshape(ROWS, 2)
            each = ClassOutput(kind="class")
            tokens = PositionSoftTargets.of(term, "term", TeacherEnsemble.of(teacher, CPU), labels, each)
            return tokens.losses(TermInputs(drawn(ROWS, 2, size, seed=3)), rows()).detach(), tokens.relational
        case "class":
            labels = torch.arange(ROWS) % size
            exits = exits_of(term, {"penultimate": (8,)}, size)
            made = ClassSoftTargets.of(term, "term", TeacherEnsemble.of(teacher, CPU), labels, CPU, exits)
        case "multilabel":
            made = LabelSoftTargets.of(term, "term", TeacherEnsemble.of(teacher, CPU))
        case "value" | "vector":
            made = NumberTargets.of(term, "term", teacher, spec, drawn(ROWS, size, seed=2), CPU)
    layers = {"penultimate": drawn(ROWS, 8, seed=4)}
    return made.losses(TermInputs(drawn(ROWS, size, seed=3), layers), rows()).detach(), made.relational


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_a_method_declares_what_it_needs_with_the_right_types_and_outside_the_schema(method: Any) -> None:
    check_declared(method)
    names = {name for name, _ in class_vars(method)}
    assert len(names) >= 3
    assert not names & set(method.model_json_schema()["properties"])


@pytest.mark.parametrize("term", members(SoftTargetTerm), ids=named)
def test_a_soft_target_says_why_it_needs_more_than_two_classes(term: Any) -> None:
    assert bool(term.min_classes_reason) == (term.min_classes > 2)
    assert len(set(term.kinds)) == len(term.kinds) > 0


@pytest.mark.parametrize("term", members(SoftTargetTerm), ids=named)
def test_a_soft_target_has_a_formula_for_each_of_its_kinds(term: Any) -> None:
    for kind in term.kinds:
        losses, relational = losses_of(default(term), kind)
        assert relational == term.relational
        assert losses.shape == (() if term.relational else (ROWS,))
        assert float(losses.sum()) > 0.0


@pytest.mark.parametrize("term", members(LogitTerm), ids=named)
def test_a_logit_term_has_a_formula_for_labels_exactly_where_its_kinds_have_them(term: Any) -> None:
    assert set(term.kinds) <= {"class", "token_class", "map", "multilabel"}
    if "multilabel" not in term.kinds:
        with pytest.raises(TypeError, match=method_of(term)):
            label_formula(default(term))


@pytest.mark.parametrize("term", members(NumberTerm), ids=named)
def test_a_number_term_is_for_numbers(term: Any) -> None:
    assert set(term.kinds) <= {"value", "vector"}


@pytest.mark.parametrize("term", members(FeatureTerm), ids=named)
def test_a_feature_term_has_a_formula_for_layers_of_its_shapes(term: Any) -> None:
    shape, spec = SHAPES[term.layer_shapes], default(term)
    assert spec.setting_misfit(shape, shape) is None
    values = drawn(ROWS, *shape, seed=1).flatten(1)
    theirs = [TeacherLayer(shape, values) for _ in spec.pairs]
    made = FeatureTargets.of(spec, "term", {"penultimate": shape}, theirs, 0, CPU)
    losses = made.losses(TermInputs(torch.empty(ROWS, 1), {"penultimate": drawn(ROWS, *shape, seed=2)}), rows())
    assert made.relational == term.relational
    assert losses.shape == (() if term.relational else (ROWS,))
    assert float(losses.detach().sum()) > 0.0


@pytest.mark.parametrize("balancing", members(Balancing), ids=named)
def test_a_balancer_is_made_as_it_declares_itself(balancing: Any) -> None:
    spec = default(balancing)
    if any(find_spec(package) is None for package in balancing.needs_packages):
        with pytest.raises(UserError, match="gpl"):
            make_balancer(spec, (1.0, 1.0), None, 0)
        return
    made = make_balancer(spec, (1.0, 0.5) if balancing.takes_weights else (1.0, 1.0), None, 0)
    assert made.has_gramian == balancing.uses_gradients


def test_the_table_of_gradient_methods_is_complete_and_agrees_with_the_union() -> None:
    assert tuple(COMBINATIONS) == members(GradientBalancing)
    assert tuple(each for each in members(Balancing) if each.uses_gradients) == members(GradientBalancing)


@pytest.mark.parametrize("schedule", members(Schedule), ids=named)
def test_a_schedule_has_a_factor_at_each_share_of_the_steps(schedule: Any) -> None:
    kind = get_args(schedule.model_fields["kind"].annotation)[0]
    assert all(0.0 <= factor(schedule(kind=kind), share) <= 1.0 for share in (0.0, 0.5, 1.0))


def test_the_names_of_the_kinds_of_jobs_are_those_of_the_union() -> None:
    jobs = {get_args(job.model_fields["kind"].annotation)[0]: job for job in members(AnyJob)}
    assert list(jobs) == list(get_args(JobKind))
    assert {*members(AnyTrainingJob)} < {*members(SubmittableJob)} < {*jobs.values()}


@pytest.mark.parametrize("job", members(AnyJob), ids=named)
def test_exactly_a_job_that_trains_has_a_student(job: Any) -> None:
    check_declared(job)
    assert job.has_student == (job in members(AnyTrainingJob))
    assert job.has_student == (get_args(job.model_fields["kind"].annotation)[0] not in WITHOUT_STUDENT)


def test_a_relation_of_each_form_has_a_source() -> None:
    documents = [
        {"matrix": [[1.0]]},
        {"groups": [["a"]]},
        {"estimate": "tag"},
        {"search": [{"matrix": [[1.0]]}, {"groups": [["a"]]}]},
    ]
    adapter: TypeAdapter[Any] = TypeAdapter(RelationSpec)
    relations = [adapter.validate_python(document, strict=False) for document in documents]
    forms = [get_args(form)[0] for form in members(RelationSpec)]
    assert [type(relation) for relation in relations] == forms
    assert [source_of(relation) for relation in relations] == ["given", "given", "estimated", "searched"]


@pytest.mark.parametrize(
    ("module", "table"),
    [
        (task_metrics, "_MEASURES"),
        (task_metrics, "_HEADLINE"),
        (contributions, "_BY_KIND"),
        (delta_m, "COUNTED"),
        (task_metrics, "COMPARED"),
        (repeats, "_COMPARED"),
        (judge, "_COMPARE"),
        (model_card, "_MEANINGS"),
    ],
)
def test_a_table_by_kind_of_task_is_complete(module: Any, table: str) -> None:
    assert set(getattr(module, table)) == set(get_args(TaskKind))


@pytest.mark.parametrize("kind", get_args(TaskKind))
def test_every_kind_of_task_has_a_default_that_is_defined_for_it(kind: TaskKind) -> None:
    assert kind in DEFAULT_TERMS[kind].kinds


# What is forgotten is refused.


def another(member: Any) -> Any:
    """A class beside a member of a union, with the same base and neither ClassVars nor a formula of its own."""
    method: Any = (Literal["another"], "another")
    return create_model("Another", __base__=member.__base__, method=method)


def test_a_method_without_its_class_vars_is_refused() -> None:
    with pytest.raises(AttributeError, match="kinds"):
        check_declared(another(KdTerm))


def test_a_class_var_of_another_type_is_refused() -> None:
    feature = another(SimilarityTerm)
    check_declared(feature)
    feature.layer_shapes = "pictures"
    with pytest.raises(ValidationError, match="maps"):
        check_declared(feature)


def exits_alone(term: Any) -> None:
    exits_of(term, {}, 2)


@pytest.mark.parametrize("dispatch", [class_formula, label_formula, number_formula, exits_alone])
def test_a_soft_target_without_a_formula_is_refused_by_name(dispatch: Any) -> None:
    with pytest.raises(AssertionError, match="Another"):
        dispatch(another(KdTerm)())


def test_a_feature_term_without_a_formula_is_refused_by_name() -> None:
    term = another(SimilarityTerm)(teacher_layer="a", student_layer="b")
    with pytest.raises(AssertionError, match="Another"):
        feature_method(term, [(8,)], [(8,)])


@pytest.mark.parametrize("balancing", [PcgradBalancing, DwaBalancing])
def test_a_balancer_without_a_formula_is_refused_by_name(balancing: Any) -> None:
    with pytest.raises(AssertionError, match="Another"):
        make_balancer(another(balancing)(), (1.0, 1.0), None, 0)


# Names that stand for settings.


@pytest.mark.parametrize("name", get_args(SharingName))
def test_a_sharing_scheme_given_by_its_name_is_that_scheme(name: SharingName) -> None:
    scheme = scheme_of(name)
    assert (scheme.method if scheme is not None else "hard") == name


def test_a_name_without_a_scheme_is_no_hard_sharing() -> None:
    with pytest.raises(KeyError):
        scheme_of("pyramid")  # type: ignore[arg-type] # what a scheme whose default was forgotten would be


# Every `match` in the code.


def open_matches(source: str) -> list[int]:
    """Lines of the `match` statements that do not end in `case _: assert_never(…)`."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Match) and not _closed(node.cases[-1])
    ]


def _closed(case: ast.match_case) -> bool:
    wildcard = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and case.guard is None
    last = case.body[-1]
    call = last.value if isinstance(last, ast.Expr) else None
    return wildcard and isinstance(call, ast.Call) and ast.unparse(call.func) == "assert_never"


def test_every_match_ends_in_assert_never() -> None:
    paths = [path for top in ("app", "workers") for path in (ROOT / top).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): open_matches(path.read_text()) for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert sum(path.read_text().count("assert_never(") for path in paths) > 30


def test_a_match_that_falls_through_is_found() -> None:
    assert open_matches("match x:\n    case 1:\n        pass\n") == [1]
    assert open_matches("match x:\n    case 1:\n        pass\n    case _:\n        y = 2\n") == [1]
    assert open_matches("match x:\n    case 1:\n        pass\n    case _:\n        assert_never(x)\n") == []
