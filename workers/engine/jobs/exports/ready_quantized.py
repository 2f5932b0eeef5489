"""The `export` job of a quantized file of a ready model, measured on the rows of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.contracts.problems import UserError, listed
from app.contracts.reports.quantized import ComparedSplit
from app.contracts.reports.report import ExportReport, OnnxCheck, RuntimeCost, RuntimeName
from app.contracts.resolving.data.inputs import inputs_read
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.rows_of_models import missing_misfit, rows_misfit
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.manifests import ClassOutput, OutputSpec
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.jobs import ExportJob
from app.contracts.specs.quantization import QuantizedFormat
from app.contracts.wire.orders import ExportOutcome, Order
from workers.engine.common.environment import environment
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.joining import read_datasets
from workers.engine.data.labels.class_order import in_order_of
from workers.engine.data.rows.joined import InputLayout
from workers.engine.evaluation.cost.measured import MeasuredFile
from workers.engine.evaluation.cost.runtime import measure
from workers.engine.evaluation.parties import EvaluatedTask, Outputs
from workers.engine.evaluation.quantized import QuantizedEvaluation, evaluate_quantized
from workers.engine.evaluation.report import Cost, LearnerPart, QuantizedPart, quantized_party
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.graph_outputs import BLOCK, Feeds, GraphOutputs, answer_specs, feeds_of
from workers.engine.export.onnx import export_onnx, trace
from workers.engine.export.quantized_graphs import Quantization
from workers.engine.export.raw_student import RawStudent
from workers.engine.jobs.exports.errors import export_error, named
from workers.engine.jobs.exports.output_files import output_file
from workers.engine.jobs.exports.quantized_files import write_quantized
from workers.engine.jobs.exports.quantized_students import (
    CALIBRATION_ROWS,
    COMPARED_ROWS,
    Comparison,
    QuantizedStudent,
    quantized_student,
    spread,
)
from workers.engine.jobs.exports.student_graph import SampleRows, check_graph

_NO_ROWS = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class _Rows:
    """Rows of a model's kind: what its graph takes for them, those of each purpose, and the labels that are known."""

    feeds: Feeds
    calibration: Tensor
    compared: Tensor
    test: Tensor
    tasks: tuple[EvaluatedTask, ...]
    split: ComparedSplit = "validation"
    """That of the rows on which candidates are compared."""


def export_quantized(order: Order, spec: ExportJob, wanted: QuantizedFormat, student: RawStudent) -> ExportOutcome:
    """Quantize a ready model. Figures are those of the order's dataset; without one there are none.

    Raises UserError `nothing_to_quantize`, `not_smaller`, `category_mismatch`, `missing_mismatch`,
    `shape_mismatch`, `export_mismatch`, and as the reading of a dataset does.
    """
    model = order.models[spec.model]
    assert model.facts is not None
    path = Path(order.attempt_dir) / "outputs" / f"model.{wanted}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    if spec.dataset is None:
        sample = SampleRows.made_for(student)
        rows = _invented(student, sample)
    else:
        dataset, sources = _read(order, spec, student, model.facts)
        sample = SampleRows.of_dataset(student, dataset, sources)
        rows = _of_dataset(student, dataset, sources)
    graph = trace(student)
    check_graph(graph, student, sample, Path(order.attempt_dir))
    whole = GraphOutputs(graph.model, student.outputs, rows.feeds)
    batches = [rows.feeds(part) for part in torch.split(rows.calibration, BLOCK)]
    comparison = Comparison(rows.tasks, rows.compared, whole, rows.split)
    found = quantized_student(wanted, Quantization(student, graph, batches, {}), rows.feeds, comparison)
    check = write_quantized(path, found, student, sample, model.sha256)
    file = output_file(wanted, path)
    if spec.dataset is None:
        return ExportOutcome(files=(file,))
    whole_path = Path(order.attempt_dir) / "model.onnx"
    export_onnx(student, whole_path, graph_metadata(student), graph)
    measured = [MeasuredFile(name, each, sample.rows.feeds) for name, each in (("model", whole_path), (wanted, path))]
    runtime, not_measured = _runtime(measured, wanted)
    part = QuantizedPart(
        party=f"model_{wanted}",
        format=wanted,
        method=found.method,
        bytes=file.bytes,
        digest=file.sha256,
        ratio=file.bytes / whole_path.stat().st_size,
        candidates=found.candidates,
        runtime=runtime,
    )
    report = _report(order, spec, part, _evaluated(rows, found, whole), check, not_measured)
    return ExportOutcome(files=(file,), report=report.model_dump(mode="json"))


def _runtime(measured: Sequence[MeasuredFile], party: str) -> tuple[dict[RuntimeName, RuntimeCost], dict[str, str]]:
    """(the cost of a party's file, why it has none)."""
    try:
        return measure(measured)[party], {}
    except Exception as error:
        export_error(error)  # raises what ends the job
        return {}, {"runtime": f"the measurement failed ({named(error)})"}


def _report(
    order: Order,
    spec: ExportJob,
    part: QuantizedPart,
    measured: QuantizedEvaluation,
    check: OnnxCheck,
    not_measured: Mapping[str, str],
) -> ExportReport:
    model = order.models[spec.model]
    assert spec.dataset is not None
    assert model.facts is not None
    unmeasured = dict(not_measured)
    if not measured.fidelity:
        unmeasured["party"] = "the dataset has no test split"
    unmeasured |= {
        name: f"the dataset has no labels for the output `{name}`: a target of its name, or the only one of its kind, "
        "with as many numbers or the same classes"
        for name in measured.fidelity
        if name not in measured.tasks
    }
    return ExportReport(
        model=spec.model,
        dataset=spec.dataset,
        party=quantized_party(part, measured, LearnerPart(Cost(parameters=model.facts.parameters))),
        export={part.format: check},
        not_measured=unmeasured,
        environment=environment(torch.device("cpu"), order.threads, "float32"),
    )


def _evaluated(rows: _Rows, found: QuantizedStudent, whole: Outputs) -> QuantizedEvaluation:
    if len(rows.test) == 0:
        return QuantizedEvaluation()
    return evaluate_quantized(rows.tasks, rows.test, found.outputs(rows.test), whole(rows.test))


def _invented(student: RawStudent, sample: SampleRows) -> _Rows:
    """For formats whose numbers do not depend on rows."""
    rows = torch.arange(sample.count)
    tasks = tuple(EvaluatedTask(name, spec, None) for name, spec in answer_specs(student.outputs).items())
    return _Rows(sample.feeds, rows, rows, _NO_ROWS, tasks)


def _of_dataset(student: RawStudent, dataset: Dataset, sources: Mapping[str, str]) -> _Rows:
    train = dataset.splits["train"]
    validation = dataset.splits.get("validation", _NO_ROWS)
    tasks = [
        EvaluatedTask(name, spec, _target(dataset, name, spec, student.network.output_sizes[name]))
        for name, spec in answer_specs(student.outputs).items()
    ]
    return _Rows(
        feeds=_feeds(student, dataset, sources),
        calibration=spread(train, CALIBRATION_ROWS),
        compared=spread(validation, COMPARED_ROWS) if len(validation) else spread(train, CALIBRATION_ROWS),
        test=dataset.splits.get("test", _NO_ROWS),
        tasks=tuple(tasks),
        split="validation" if len(validation) else "train",
    )


def _target(dataset: Dataset, name: str, spec: OutputSpec, size: int) -> TargetColumn | None:
    """The labels of an output: the target of its name, or the only one of its kind, if it counts the same things.
    Classes are matched by name.
    """
    alike = {key: each for key, each in dataset.targets.items() if each.kind == spec.kind}
    target = alike.get(name) or (next(iter(alike.values())) if len(alike) == 1 else None)
    if target is None or target.size != size:
        return None
    named = spec.classes if isinstance(spec, ClassOutput) else None
    return target if named is None else in_order_of(target, named)


def _read(order: Order, spec: ExportJob, student: RawStudent, facts: ModelFacts) -> tuple[Dataset, dict[str, str]]:
    """(the dataset, the input of it that each of the model's reads). Its missing numbers are filled as the model's file
    does, so that figures are those of the file. Raises UserError where the model does not read such rows.
    """
    assert spec.dataset is not None
    known = order.datasets[spec.dataset].facts
    assert known is not None, "an export waits for the inspection"
    problem = rows_misfit(facts, known)
    if problem is not None:
        raise UserError(problem.code, problem.detail)
    dataset = read_datasets(order, spec.dataset_refs())
    sources = _sources(student, facts, dataset)
    fills: dict[str, InputEncoding] = {}
    for name, source in sources.items():
        fill = _fill_of_model(student, name, dataset, source)
        fills |= {source: fill} if fill is not None else {}
    if fills:
        del dataset  # before it is read again
        dataset = read_datasets(order, spec.dataset_refs(), fills)
    return dataset, sources


def _fill_of_model(student: RawStudent, name: str, dataset: Dataset, source: str) -> InputEncoding | None:
    """What fills missing numbers in the model's file, where the dataset has some and is read with others in their
    place. Raises UserError `missing_mismatch` where the file fills none, or has indicators that the rows lack.
    """
    theirs, ours = student.inputs[name].encoding, dataset.transforms[source].encoding
    has_gaps = ours is not None and ours.missing is not None and bool(dataset.uses.get(source))
    problem = missing_misfit(theirs, ours, source, has_gaps=has_gaps)
    if problem is not None:
        raise UserError(problem.code, problem.detail)
    return theirs if has_gaps and theirs is not None and ours is not None and theirs.fill != ours.fill else None


def _sources(student: RawStudent, facts: ModelFacts, dataset: Dataset) -> dict[str, str]:
    layout = dataset.layout
    if tokens_of(facts) is not None:
        return dict(zip(student.inputs, _texts_read(facts, dataset), strict=True))
    names, _ = inputs_read(facts, layout.shapes)
    single = len(student.inputs) == 1
    read = layout.only(names if not single else names[:1] or tuple(layout.shapes))
    return dict(zip(student.inputs, read.shapes, strict=True))


def _texts_read(facts: ModelFacts, dataset: Dataset) -> list[str]:
    """The input whose texts were read by the model's own tokenizer. Raises UserError `input_mismatch`."""
    names = [name for name, tokens in dataset.tokens.items() if tokens == tokens_of(facts)]
    own = [name for name in names if name in facts.inputs] or names
    if len(own) != 1:
        raise UserError(
            "input_mismatch",
            f"the model reads one text called {listed(facts.inputs)}, and the dataset has {len(names)} for it: name a "
            "dataset with such an input",
        )
    return own


def _feeds(student: RawStudent, dataset: Dataset, sources: Mapping[str, str]) -> Feeds:
    """What the model's graph takes, of rows of the dataset."""
    names = tuple(sources.values())
    layout = InputLayout({name: dataset.layout.shapes[source] for name, source in sources.items()})
    return feeds_of(student, dataset.layout.rows(dataset.raw, names), layout)
