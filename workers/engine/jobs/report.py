"""The report of a job, and its outcome."""

import json
from dataclasses import replace
from pathlib import Path

from app.contracts.base import Answer, digest_of
from app.contracts.reports.relation import RelationReport
from app.contracts.specs.jobs import MultitaskJob
from app.contracts.wire.orders import Order, OutputFile, ReportOutcome, TrainingOutcome
from workers.engine.common.environment import environment
from workers.engine.evaluation.relation_report import relation_report
from workers.engine.evaluation.report import Cost, LearnerPart, ReportParts, build_report
from workers.engine.jobs.evaluate import Evaluated
from workers.engine.jobs.exports.output_files import output_file
from workers.engine.jobs.exports.runtime_costs import STUDENT, RuntimeCosts
from workers.engine.jobs.exports.trained_models import Exported
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.trained import Trained
from workers.engine.tasks.supervision import weights_by_class
from workers.engine.tasks.task import learnable_rows


def write_report(trained: Trained, evaluated: Evaluated, exported: Exported, runtimes: RuntimeCosts) -> TrainingOutcome:
    """Write `report.json`; returns the outcome with all output files."""
    report = build_report(_parts(trained, evaluated, exported, runtimes)).model_dump(mode="json")
    return TrainingOutcome(
        files=(*exported.files, _written(trained.job.order, report)),
        student=exported.facts,
        student_manifest=exported.manifest,
        peers=exported.peers,
        report=report,
    )


def report_outcome(order: Order, report: Answer) -> ReportOutcome:
    """The outcome of a job that makes no model; writes `report.json`."""
    document = report.model_dump(mode="json")
    return ReportOutcome(files=(_written(order, document),), report=document)


def _written(order: Order, report: dict[str, object]) -> OutputFile:
    path = Path(order.attempt_dir) / "outputs" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, allow_nan=False))
    return output_file("report", path)


def _parts(trained: Trained, evaluated: Evaluated, exported: Exported, runtimes: RuntimeCosts) -> ReportParts:
    job, analysis = trained.job, evaluated.analysis
    control = exported.control
    cost = replace(evaluated.cost, runtime=runtimes.costs.get(STUDENT, {}), files=exported.sizes)
    return ReportParts(
        spec=job.spec,
        tasks=evaluated.tasks,
        evaluation=evaluated.evaluation,
        teachers=[
            replace(each, cost=replace(each.cost, runtime=runtimes.costs.get(each.key, {})))
            for each in evaluated.teachers
        ],
        student=_learner_part(cost, exported.student, trained.student, trained.seed_of(control=False)),
        control=_learner_part(evaluated.cost, control, trained.control, trained.seed_of(control=True))
        if control and trained.control
        else None,
        environment=environment(job.device, job.order.threads, trained.precision),
        datasets=trained.dataset_uses(),
        targets=trained.targets,
        relation=_relation(trained),
        quantized=[replace(part, runtime=runtimes.costs.get(part.party, {})) for part in exported.quantized],
        baselines=evaluated.baselines,
        seeds=evaluated.seeds,
        search=trained.search,
        class_weights=_class_weights(trained),
        per_class=analysis.per_class,
        robustness=analysis.robustness,
        reliability=analysis.reliability,
        export=exported.checks,
        warnings=job.warnings,
        chosen=job.chosen,
        not_measured={**_not_measured(trained), **runtimes.not_measured},
        micro_batch_size=trained.micro_batch_size,
        exact_accumulation=trained.exact_accumulation,
        bit_exact=trained.bit_exact,
        attempts=job.order.attempt,
        digests=_digests(trained, exported.student),
        seconds=job.seconds,
    )


def _learner_part(cost: Cost, file: OutputFile, model: TrainedModel, seed: int) -> LearnerPart:
    return LearnerPart(
        cost=replace(cost, bytes=file.bytes),
        seed=seed,
        epoch=model.epoch,
        steps=model.steps,
        cached=model.cached,
        digest=file.sha256,
    )


def _relation(trained: Trained) -> RelationReport | None:
    requested, used = trained.job.spec, trained.run_spec.spec
    if not isinstance(requested, MultitaskJob) or not isinstance(used, MultitaskJob):
        return None
    return relation_report(requested, used, trained.measured)


def _class_weights(trained: Trained) -> dict[str, dict[str, float]]:
    dataset = trained.data.dataset
    targets = {task.name: (task, dataset.targets.get(task.target or task.name)) for task in trained.run_spec.tasks}
    weights = {
        name: weights_by_class(task, target, dataset.splits["train"])
        for name, (task, target) in targets.items()
        if target is not None
    }
    return {name: by_class for name, by_class in weights.items() if by_class}


def _not_measured(trained: Trained) -> dict[str, str]:
    splits = trained.data.dataset.splits
    if "validation" not in splits:
        return {"selection": "the dataset has no validation split: the last epoch's weights were kept"}
    if len(learnable_rows([each.student for each in trained.tasks], splits["validation"])) == 0:
        return {
            "selection": "no row of the validation split has a label or a teacher's output: the last epoch's "
            "weights were kept"
        }
    return {}


def _digests(trained: Trained, student: OutputFile) -> dict[str, str]:
    teachers = {f"teacher/{key}": each.sha256 for key, each in trained.teachers.opened.items()}
    return {
        "spec": digest_of(trained.job.spec),
        **{f"dataset/{each.id}": each.sha256 for each in trained.dataset_inputs},
        **teachers,
        "student": student.sha256,
    }
