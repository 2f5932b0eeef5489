"""A training job: load, teach, train, evaluate, export, report."""

from app.contracts.wire.events import WarningEvent
from app.contracts.wire.orders import TrainingOutcome
from workers.engine.balancing import check_available
from workers.engine.common.allocator import keep_freed_memory
from workers.engine.common.determinism import make_deterministic
from workers.engine.data.dataset import Dataset
from workers.engine.data.joining import read_datasets
from workers.engine.data.texts.warnings import cut_by_models
from workers.engine.jobs.evaluate import evaluate_trained
from workers.engine.jobs.exports.quantized_students import quantize_student
from workers.engine.jobs.exports.runtime_costs import measure_runtimes
from workers.engine.jobs.exports.trained_models import export_trained
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData, store_of
from workers.engine.jobs.report import write_report
from workers.engine.jobs.training_runs import TrainingRuns
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.teachers.teachers import Teachers


def train(job: Job) -> TrainingOutcome:
    """Carry out a job of kind `train`, `distill` or `multitask`. Raises UserError, and Stopped after a checkpoint."""
    make_deterministic(job.order.threads)
    check_available(RunSpec.of(job.spec).balancing)

    job.enter("loading")
    job.warn_of_spec()
    dataset = read_datasets(job.order, job.spec.dataset_refs())
    _warn_of_texts(job, dataset)
    data = JobData.of(job.spec, dataset, job.device, job.order.tokenizers)

    keep_freed_memory()  # from here on: the arrays that loading has freed are back with the kernel
    job.enter("teaching")
    with Teachers(
        job.order, data.dataset, job.device, job.check_stop, store_of(job.spec), data.augmentation
    ) as teachers:
        runs = TrainingRuns(job, data, teachers)

        job.enter("training")
        trained = runs.run()

        job.enter("evaluating")
        quantized = quantize_student(trained)
        evaluated = evaluate_trained(trained, quantized.outputs)

        job.enter("exporting")
        exported = export_trained(trained, evaluated, quantized)
        runtimes = measure_runtimes(trained, exported.measured)

        job.end_phase()
        return write_report(trained, evaluated, exported, runtimes)


def _warn_of_texts(job: Job, dataset: Dataset) -> None:
    """Texts that are longer than a model reads by its own tokenizer; the dataset says it of its own."""
    own = dataset.inputs.keys() if job.spec.network.tokenizer_model is not None else ()
    for message in cut_by_models(dataset, own):
        job.emit(WarningEvent(code="texts_cut", message=message))
