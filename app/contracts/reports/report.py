"""The report of a finished job: metrics of teachers, student and control, and a verdict for each task.

Metrics are those on the test split, which is used only once, at the end.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from app.contracts.base import Answer, left_out
from app.contracts.problems import Chosen
from app.contracts.reports.baselines import BaselineReport
from app.contracts.reports.quantized import QuantizationMethod, QuantizedCandidate, QuantizedVerdict
from app.contracts.reports.relation import RelationReport
from app.contracts.reports.search import SearchReport
from app.contracts.reports.settling import WouldSettle
from app.contracts.reports.verdict_words import VerdictWord
from app.contracts.resources.splits import SplitName
from app.contracts.specs.quantization import QuantizedFormat

Metrics = Annotated[
    dict[str, float | None],
    Field(
        description="class: accuracy, nll, ece, brier, macro_f1, auroc; value: rmse, mae, r2; and `rows`, the labelled "
        "rows, of a teacher those that it has outputs for."
    ),
]


class Latency(Answer):
    """Time of one forward pass in evaluation mode. A teacher is timed by the first job on it in this worker."""

    median_ms: float = Field(description="Median in milliseconds.")
    p95_ms: float = Field(description="95th percentile in milliseconds.")
    steady: bool = Field(
        default=True,
        description="False where the 95th percentile is more than 5 times the median: the device was busy with other "
        "work, and ratios of such times say little.",
    )


RuntimeName = Literal["torch", "onnxruntime"]
ThreadsName = Literal["1", "all"]


class RuntimeCost(Answer):
    """What a party costs in one runtime on the CPU of the worker.

    The files and runtimes of a party are timed in turn, pass by pass, so that other work on the machine slows them
    alike. A teacher is timed by the first job on it in this worker, and later ones report its times. In torch it is the
    network alone, in ONNX Runtime the file: from rows as they were uploaded to answers (of an uploaded graph from rows
    after their transform, as its file takes them).
    """

    latency: dict[ThreadsName, dict[str, Latency]] = Field(
        description="Time of a pass, by number of threads (`1`, and `all` where the worker has more), then by batch "
        "size (`1` and `64`)."
    )
    threads: int = Field(description="Number of threads that `all` stands for: the processors that the worker may use.")
    cold_start_ms: float | None = Field(
        default=None, description="Time to create a session of ONNX Runtime from the file, median; null for torch."
    )
    peak_memory_bytes: int | None = Field(
        default=None,
        description="Peak of the resident memory of a fresh process that loads the file and runs both batch sizes with "
        "one thread, above that of a process that loads the runtime and no file; null for torch, and where the process "
        "could not tell.",
    )
    bytes: int | None = Field(default=None, description="Size of the file; null for torch.")


class Party(Answer):
    """Cost and metrics of a teacher, the student or the control."""

    name: str = Field(description="The teacher's name, `student` or `control`.")
    model: str | None = Field(
        default=None, description="Id of the model; null where it is not a model of this service."
    )
    weight: float | None = Field(
        default=None, description="Weight of a teacher among the teachers of its task; null for student and control."
    )
    task: str | None = Field(default=None, description="Task of a teacher; null for student and control.")
    output: str | None = Field(
        default=None,
        description="What a teacher's raw scores in the predictions file are: `logits`, `probabilities`, "
        "`log_probabilities` or `energies`; null for values and vectors, which are in the units of their labels, and "
        "for student and control, whose scores are logits.",
    )
    parameters: int | None = Field(default=None, description="Number of parameters; null where unknown.")
    bytes: int | None = Field(default=None, description="Size of the weights file in bytes; null where unknown.")
    flops: int | None = Field(
        default=None, description="FLOPs of a forward pass of one row, by torch's counter; null where unknown."
    )
    latency: dict[str, Latency] = Field(
        default_factory=dict,
        description="Time of a forward pass in torch on the job's device, by batch size (`1` and `64`). The control "
        "has the student's times, as its architecture is the same.",
    )
    runtime: dict[RuntimeName, RuntimeCost] = Field(
        default_factory=dict,
        description="What it costs where it may run, on the CPU, by runtime: of the student and its teachers, in jobs "
        "that export ONNX. `not_measured` of the report says why a party has none.",
    )
    tasks: dict[str, Metrics] = Field(
        default_factory=dict,
        description="Metrics on the test split by task; null for a metric that is undefined there.",
    )
    seed: int | None = Field(default=None, description="Seed of its training; null for a teacher.")
    epoch: int | None = Field(
        default=None, description="Epoch whose weights were kept, counted from 1; null for a teacher."
    )
    steps: int | None = Field(default=None, description="Number of optimizer steps taken; null for a teacher.")
    cached: bool = Field(
        default=False, description="Whether a control of an earlier job with the same digest was used."
    )
    digest: str | None = Field(default=None, description="SHA-256 of the weights file; null where there is none.")


class Fidelity(Answer):
    """How closely the student matches the mean of its teachers on the test rows of a task."""

    agreement: float | None = Field(
        default=None,
        description="Share of rows with the same top class, for labels share of equal decisions; null for values and "
        "vectors.",
    )
    kl: float | None = Field(
        default=None, description="Mean KL(teacher ‖ student) in nats at temperature 1; null for values and vectors."
    )
    rmse: float | None = Field(
        default=None, description="Root mean squared difference in the target's unit; null for classes and labels."
    )
    rows: int = Field(default=0, description="Number of rows compared: those that a teacher has outputs for.")


class QuantizedParty(Party):
    """A quantized file of the student: cost, metrics, and what it loses."""

    format: QuantizedFormat = Field(description="Format of the file, as in `exports`.")
    method: QuantizationMethod = Field(
        description="`static`: weights and inputs of layers in int8, inputs by ranges of the training rows. `dynamic`: "
        "inputs by the range of each batch, on which answers then depend (figures are those of one row at a time); "
        "exported where it is better by more than 0.001 on the rows of the candidates (accuracy, R²). `aware`: the "
        "rounding that the student was trained with. `half`: float16, which ONNX Runtime computes in float32 on "
        "processors without it: so do the figures here."
    )
    ratio: float = Field(description="Size of the file relative to the ONNX file in float32.")
    fidelity: dict[str, Fidelity] = Field(
        default_factory=dict, description="How closely it follows the student in float32 on the test rows, by task."
    )
    simulated: dict[str, Fidelity] = Field(
        default_factory=dict,
        description="How closely it follows the network with the rounding that it was trained with, on the test rows "
        "by task; empty for other methods than `aware`.",
    )
    verdict: dict[str, QuantizedVerdict] = Field(
        default_factory=dict, description="What it loses against the student in float32, by task."
    )
    candidates: tuple[QuantizedCandidate, ...] = Field(
        default=(), description="Everything that was tried, and measured on rows of the validation or training split."
    )


class Verdict(Answer):
    """The verdict whether the teachers helped."""

    verdict: VerdictWord = Field(
        description="`no_gain`: the interval lies inside ±margin; otherwise `gain` or `loss`: it lies wholly above or "
        "below 0; otherwise `inconclusive`. With `repeats: 1`, whose interval does not cover the noise of training, "
        "`provisional_gain`, `provisional_loss` or `undecided`. `not_applicable`: nothing could be compared, see "
        "`method`."
    )
    metric: str | None = Field(default=None, description="Metric that is compared; null where nothing is.")
    student: float | None = Field(
        default=None,
        description="The student's metric on the test split, over repeats the mean; null where nothing is compared.",
    )
    control: float | None = Field(
        default=None,
        description="The control's metric on the test split, over repeats the mean; null where nothing is compared.",
    )
    difference: float | None = Field(
        default=None, description="Student against control; positive values favour the student, whatever the metric."
    )
    margin: float | None = Field(
        default=None,
        description="Differences up to this size count as none.",
    )
    interval: tuple[float, float] | None = Field(
        default=None, description="Confidence interval of the difference: lower and upper limit."
    )
    confidence: float | None = Field(
        default=None, description="Confidence level of `interval`; null in earlier reports, where it is 0.95."
    )
    standard_error: float | None = Field(
        default=None, description="Standard error of the difference; null where no interval was computed from it."
    )
    freedom: float | None = Field(
        default=None, description="Degrees of freedom of the t interval; null where the interval is not of this form."
    )
    method: str = Field(description="How the verdict was reached, and what the interval does not cover.")
    repeats: int = Field(default=1, description="Number of students, and of controls, trained from different seeds.")
    exported: float | None = Field(
        default=None,
        description="The metric of the exported student, the best of several by validation; null where there is one.",
    )
    students: tuple[float, ...] = Field(
        default=(), description="The metric of each student, where there are several; `student` is their mean."
    )
    controls: tuple[float, ...] = Field(
        default=(), description="The metric of each control, where there are several; `control` is their mean."
    )
    would_settle: WouldSettle | None = Field(
        default=None,
        description="What would decide an `inconclusive` or `undecided` verdict; null for others, and without an "
        "interval.",
    )


class ClassFigures(Answer):
    """Metrics of one party on one class."""

    recall: float | None = Field(
        default=None, description="Share of the rows of this class that were predicted as it; null without such rows."
    )
    precision: float | None = Field(
        default=None, description="Share of the rows predicted as this class that belong to it; null without such rows."
    )
    f1: float | None = Field(
        default=None,
        description="Harmonic mean of recall and precision; null where the class is neither a label nor predicted.",
    )
    iou: float | None = Field(
        default=None,
        exclude_if=left_out,
        description="Of pixels, intersection over union: those of this class that were predicted as it, of those that "
        "are one or the other; left out otherwise.",
    )


class PerClass(Answer):
    """One class of a class task on the test rows."""

    index: int = Field(description="Number of the class, as in the labels.")
    name: str | None = Field(default=None, description="Name of the class; null where the dataset has no class names.")
    support: int = Field(description="Number of test rows with this label.")
    parties: dict[str, ClassFigures] = Field(
        default_factory=dict,
        description="Figures of `teacher`, `student`, `control` and `baseline`, as far as there are.",
    )
    difference: float | None = Field(
        default=None,
        description="F1 of the student minus F1 of the teacher, on the rows that the teacher has outputs for; null "
        "where one is undefined.",
    )


class Robustness(Answer):
    """A metric of every party on test rows with one corruption at one severity."""

    corruption: str = Field(description="`gaussian_noise`, `gaussian_blur` or `shift`.")
    severity: int = Field(description="Severity: 1 (mild), 2 or 3.")
    metric: str = Field(description="Metric: accuracy, or rmse for values and vectors.")
    parties: dict[str, float | None] = Field(
        default_factory=dict, description="The metric, by party; null where undefined."
    )


class ReliabilityBin(Answer):
    """Test rows whose highest probability is in one range: a bin of a reliability diagram."""

    low: float = Field(description="Lower limit of the range, inclusive.")
    high: float = Field(description="Upper limit of the range, exclusive except for 1.")
    confidence: float | None = Field(default=None, description="Mean highest probability; null without rows.")
    accuracy: float | None = Field(default=None, description="Share of correctly classified rows; null without rows.")
    count: int = Field(default=0, description="Number of rows in the range.")


class Compression(Answer):
    """Ratios of teacher to student, with several teachers of their sum to the student."""

    parameters: float | None = Field(
        default=None, description="Ratio of the numbers of parameters; null where one is unknown."
    )
    bytes: float | None = Field(
        default=None, description="Ratio of the sizes of the weights files; null where one is unknown."
    )
    flops: float | None = Field(
        default=None, description="Ratio of the FLOPs of a forward pass; null where one is unknown."
    )
    latency: dict[str, float] = Field(
        default_factory=dict, description="Ratio of the median times of a forward pass, by batch size."
    )
    files: dict[str, float] = Field(
        default_factory=dict,
        description="Ratio of the size of the teachers' weights files to that of each file of the student, by format "
        "(`safetensors`, `onnx`); empty where one is unknown.",
    )


class TargetUse(Answer):
    """How the outputs of one teacher were obtained."""

    teacher: str = Field(description="The teacher's name.")
    store: Literal["hit", "miss", "columns", "unused"] = Field(
        description="`hit`: all outputs were in the soft-target store; `miss`: the teacher computed them; `columns`: "
        "the dataset has them, or predictions for it; `unused`: no outputs were needed."
    )
    passes: int = Field(description="Number of forward passes (batches) of the teacher in this job.")
    saved: int = Field(
        default=0, description="Number of forward passes that were avoided because the store had their outputs."
    )
    rows: int = Field(description="Number of rows with outputs.")
    bytes: int = Field(description="Size of the outputs in bytes.")
    key: str | None = Field(
        default=None,
        description="Key of the store's entry; null without one, and where several datasets have one each.",
    )


class DatasetUse(Answer):
    """A dataset of the job, and its share in the training."""

    dataset: str = Field(description="Id of the dataset.")
    name: str = Field(description="The dataset's name.")
    weight: float = Field(description="Share of the rows of every batch, relative to the other datasets.")
    batch: int | None = Field(
        default=None, description="Number of its rows in every batch; null where each batch is of one dataset."
    )
    rows: dict[SplitName, int] = Field(default_factory=dict, description="Number of rows, by split.")
    learned: int = Field(description="Number of training rows from which at least one task learns.")


class OnnxOutputCheck(Answer):
    """One output of the exported ONNX graph beside the engine's."""

    max_abs_difference: float = Field(description="Largest absolute difference, in the output's own units.")
    tolerance: float = Field(description="Largest difference allowed.")


class OnnxCheck(Answer):
    """The comparison of the exported ONNX graph, on test rows as uploaded, with the engine's predictions."""

    max_abs_difference: float = Field(
        description="Largest absolute difference of the output that comes closest to its tolerance."
    )
    tolerance: float = Field(description="Largest difference allowed there.")
    rows: int = Field(
        description="Number of rows compared: those of the test split, at most 2048; invented ones where no dataset "
        "has rows that the graph takes."
    )
    opset: int = Field(description="ONNX opset version of the graph.")
    outputs: dict[str, OnnxOutputCheck] = Field(default_factory=dict, description="Each output by the graph's name.")
    classes_changed: int = Field(
        default=0, description="Rows on which another class comes first: ties within the tolerance."
    )
    unchecked_datasets: tuple[str, ...] = Field(
        default=(),
        description="Datasets of which no row was compared: the graph takes rows as the first dataset of the training "
        "has them, and theirs have another shape, layout, type or precision.",
    )


class Environment(Answer):
    """The hardware and software of the measurements."""

    device: str = Field(description="Name of the device, such as `cpu (x86_64)` or `cuda (NVIDIA A100-SXM4-40GB)`.")
    threads: int = Field(description="Number of CPU threads.")
    versions: dict[str, str] = Field(description="Versions of Python and of the numeric packages, by name.")
    precision: str = Field(description="Precision of forward passes in training, as used: `float32` or `bfloat16`.")


class ExportReport(Answer):
    """`GET /v1/jobs/{id}/report` of the export of a quantized file that names a dataset."""

    kind: Literal["export"] = "export"
    model: str = Field(description="Id of the model.")
    dataset: str = Field(description="Id of the dataset on whose rows the file was measured.")
    party: QuantizedParty = Field(description="The file, on the test split of the dataset.")
    export: dict[str, OnnxCheck] = Field(
        default_factory=dict, description="Comparison of the file with the graph that was measured, by format."
    )
    not_measured: dict[str, str] = Field(
        default_factory=dict, description="What could not be measured, with the reason, such as a missing test split."
    )
    environment: Environment = Field(description="Device and software that produced the figures.")


class Report(Answer):
    """`GET /v1/jobs/{id}/report`."""

    kind: str = Field(description="Kind of the job.")
    teachers: tuple[Party, ...] = Field(default=(), description="The teachers, one entry for each task of each.")
    student: Party = Field(description="The trained student.")
    control: Party | None = Field(
        default=None, description="The same network trained without teachers; null where none was requested."
    )
    quantized: dict[str, QuantizedParty] = Field(
        default_factory=dict,
        description="Quantized files of the student, each measured as it is exported: `student_int8`, `student_fp16`.",
    )
    fidelity: dict[str, Fidelity] = Field(
        default_factory=dict, description="How closely the student follows its teachers, by task."
    )
    compression: Compression | None = Field(
        default=None, description="How much smaller and faster than its teachers the student is; null without teachers."
    )
    verdict: dict[str, Verdict] = Field(default_factory=dict, description="Whether the teachers helped, by task.")
    class_weights: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="Weights of the classes in the loss on labels, as used, by task and class (its name, or its number "
        "as text): their mean over the labelled training rows is 1. Of a multilabel task: presence relative to "
        "absence, by label. Tasks without class weights are left out.",
    )
    per_class: dict[str, tuple[PerClass, ...]] = Field(
        default_factory=dict,
        description="Results by class, for each class task: at most 100 classes, those first where the student loses "
        "most against the teacher.",
    )
    robustness: dict[str, tuple[Robustness, ...]] = Field(
        default_factory=dict, description="Quality on corrupted test rows, by task."
    )
    reliability: dict[str, dict[str, tuple[ReliabilityBin, ...]]] = Field(
        default_factory=dict, description="Confidence and accuracy in bins, by class task and party."
    )
    baselines: BaselineReport | None = Field(
        default=None, description="The student against single-task models; null where none were trained."
    )
    seeds: dict[str, tuple[Metrics, ...]] = Field(
        default_factory=dict,
        description="Metrics on the test split of the student of each seed, by task and in the order of the seeds; "
        "empty where there is one.",
    )
    search: SearchReport | None = Field(
        default=None, description="All candidates of a search; null where nothing was searched."
    )
    datasets: tuple[DatasetUse, ...] = Field(default=(), description="Datasets of the job, in its order.")
    targets: tuple[TargetUse, ...] = Field(default=(), description="How the outputs of each teacher were obtained.")
    relation: RelationReport | None = Field(
        default=None, description="How the tasks of a multitask job affect each other; null for other jobs."
    )
    export: dict[str, OnnxCheck] = Field(
        default_factory=dict,
        description="Comparison of the exported file, on test rows as uploaded, with the predictions, by format.",
    )
    warnings: tuple[dict[str, str], ...] = Field(
        default=(),
        description="Each with a stable `code` and a `message`: those of the dry run, and what training and evaluation "
        "showed, such as `still_improving`, `no_better_than_constant` or `validation_too_small`.",
    )
    chosen: dict[str, Chosen] = Field(
        default_factory=dict,
        description="What the recipe chose for fields that were left out, by JSON pointer to the field in `spec`.",
    )
    not_measured: dict[str, str] = Field(
        default_factory=dict, description="What could not be measured, with the reason, such as a missing test split."
    )
    micro_batch_size: int | None = Field(
        default=None,
        description="Rows in memory at once, smaller than requested where memory ran out; null where batches were not "
        "divided.",
    )
    exact_accumulation: bool = Field(
        default=True,
        description="Whether gradients of micro-batches add up to those of whole batches; false with micro-batches and "
        "BatchNorm.",
    )
    bit_exact: bool = Field(
        default=True,
        description="Whether the result equals that of an uninterrupted run bit by bit; false where an attempt "
        "resumed on another device, version or thread count.",
    )
    attempts: int = Field(default=1, description="Number of attempts that the job took.")
    environment: Environment = Field(description="Device and software that produced the figures.")
    digests: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 digests of the spec, datasets, teachers and student, by name."
    )
    seconds: dict[str, float] = Field(
        default_factory=dict, description="Wall time in seconds by phase, over all attempts."
    )
    spec: dict[str, Any] = Field(default_factory=dict, description="The resolved spec, with the weights used.")
