"""Kinds of input that can be misread, and the paths by which each can come: every cell is a test, or a reason why there
is none.

    python -m tests.architecture.intake.paths    prints the table as Markdown
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PATHS: Final = (
    "npz",
    "parquet",
    "csv",
    "jsonl",
    "family model",
    "ONNX model",
    "teacher columns",
    "class",
    "value",
    "multilabel",
    "vector",
    "dry run",
    "preflight",
    "job",
)
"""Formats of datasets, sources of a teacher's outputs, kinds of target, and when it is noticed."""


@dataclass(frozen=True)
class Covered:
    """A test by its file below `tests` and its name, as `pytest` has them."""

    file: str
    name: str


@dataclass(frozen=True)
class NotApplicable:
    """A path that this kind cannot come by."""

    because: str


Cell = Covered | NotApplicable
_FILES, _MODELS, _TARGETS = PATHS[:4], PATHS[4:7], PATHS[7:11]
_DATASET = NotApplicable("it is about files of datasets, not models")
_MODEL = NotApplicable("it is about models, not files of datasets")
_INPUTS = NotApplicable("it is about inputs, whatever the target")
_ANY_TARGET = NotApplicable("it is about weights or graphs, whatever the target")
_GRAPH = NotApplicable("columns are numbers of the dataset: there is no graph or checkpoint")
_AT_UPLOAD = NotApplicable("the upload is refused or described, so that no job reads it")


def _cells(*parts: tuple[tuple[str, ...] | str, Cell]) -> Mapping[str, Cell]:
    """One cell for each path, from groups of paths; a later part overrides an earlier one."""
    cells: dict[str, Cell] = {}
    for paths, cell in parts:
        cells |= dict.fromkeys((paths,) if isinstance(paths, str) else paths, cell)
    return cells


_LAYOUT = Covered("engine/data/rows/test_layout.py", "test_channels_last_moves_the_last_side_to_the_front")
_SHAPE_PATHS = Covered(
    "engine/jobs/datasets/test_layouts.py",
    "test_flat_rows_meet_the_statistics_of_a_teachers_channels_on_every_path",
)
_SHAPE_DRY = Covered(
    "contracts/resolving/data/test_layouts.py",
    "test_a_teacher_of_another_layout_is_refused_with_both_shapes_and_the_mend",
)
_MEANING = Covered("engine/data/quality/test_meaning.py", "test_numbers_that_cannot_be_what_is_declared_are_refused")
_MEANING_OTHERS = Covered("engine/data/quality/test_meaning.py", "test_labels_values_and_vectors_are_checked_too")
_COLUMNS_MEANING = Covered(
    "engine/data/quality/test_meaning.py", "test_columns_of_kind_teacher_are_refused_for_the_same_numbers"
)
_DECLARED = Covered(
    "engine/jobs/inspection/test_declared_outputs.py", "test_a_model_with_other_outputs_than_declared_is_rejected"
)
_UNFIT = Covered(
    "engine/jobs/preflight/test_unfit_teachers.py", "test_columns_that_have_nothing_to_do_with_the_labels_are_refused"
)
_FIRST_PASS = Covered(
    "engine/jobs/preflight/test_unfit_teachers.py",
    "test_a_model_whose_random_rows_looked_right_is_refused_at_the_first_pass_over_real_rows",
)
_ASSESSED = "engine/teachers/test_assessment.py"
_HOLES = Covered(
    "engine/jobs/distillation/test_missing_outputs.py", "test_a_teacher_is_measured_on_the_test_rows_that_it_has"
)
_RARE = Covered("engine/teachers/test_ranking.py", "test_true_posteriors_of_a_rare_class_pass_without_a_warning")
_RARE_JOB = Covered(
    "engine/jobs/preflight/test_unfit_teachers.py", "test_columns_of_a_rare_class_that_never_predict_it_teach"
)
_LABEL = Covered("engine/data/tables/test_values.py", "test_a_label_is_the_same_class_in_every_format")
_NUMBER = Covered("engine/data/tables/test_values.py", "test_a_number_is_the_same_value_and_input_in_every_format")
_YES = Covered("engine/data/tables/test_values.py", "test_yes_and_no_are_the_same_labels_in_every_format")
_UNUSUAL = Covered("engine/data/quality/test_warnings.py", "test_what_is_unusual_is_named")
_COUNTED = Covered(
    "engine/data/quality/test_warnings.py", "test_statistics_count_labels_missing_rows_and_range_of_each_split"
)
_REPEATED = Covered(
    "contracts/resolving/data/test_warnings.py", "test_a_dry_run_repeats_the_warnings_that_concern_the_job"
)
_REPORTED = Covered(
    "e2e/test_data_warnings.py", "test_minus_one_labels_are_told_in_the_dataset_the_dry_run_and_the_report"
)
_OFFSET = Covered(
    "engine/data/rows/test_precision.py", "test_inputs_and_targets_far_from_zero_are_exact_after_centring"
)
_OFFSET_VECTORS = Covered("engine/data/rows/test_precision.py", "test_vectors_and_columns_of_a_teacher_keep_theirs")
_UNITS = Covered("engine/data/rows/test_deviation.py", "test_inputs_are_standardised_in_any_unit_one_beside_the_other")
_UPLOADED = "test_a_manifest_of_an_uploaded_model_may_have_small_deviations"
_OFFSET_JOB = Covered(
    "engine/jobs/datasets/scales/test_large_offsets.py", "test_a_student_is_as_good_with_an_offset_as_without"
)
_WIDE = Covered(
    "engine/jobs/datasets/scales/test_wide_numbers.py", "test_a_graph_is_right_about_rows_that_float32_would_round"
)
_CONSISTENT = Covered("engine/teachers/test_consistency.py", "test_each_fault_is_named_also_where_a_row_is_slow")
_BATCH = Covered(
    "engine/jobs/inspection/graphs/test_inputs.py",
    "test_a_graph_that_normalises_over_the_batch_or_draws_numbers_is_refused",
)
_COUNT = Covered("engine/jobs/inspection/graphs/test_outputs.py", "test_every_stored_number_is_counted")
_REFERENCE = Covered(
    "engine/jobs/inspection/test_reference.py", "test_what_differs_is_named_with_the_largest_difference"
)
_REFERENCE_GRAPH = Covered(
    "engine/jobs/inspection/test_reference.py",
    "test_a_graph_has_a_reference_too_and_a_norm_after_the_activation_is_found",
)
_GRAPH_JOB = Covered(
    "engine/jobs/datasets/test_several_inputs.py", "test_a_graph_of_two_inputs_teaches_a_student_that_reads_both"
)
_FIRST_TRIAL = "engine/jobs/inspection/graphs/test_first_trial.py"
_CHECKPOINT = Covered(
    "engine/jobs/inspection/test_checkpoints.py",
    "test_any_single_key_may_hold_the_state_dict_with_numbers_and_texts_beside_it",
)
_ONE_TABLE = Covered("engine/data/formats/test_csv.py", "test_one_table_is_one_dataset_however_it_is_written")
_CATEGORY = Covered("engine/data/tables/test_category.py", "test_a_category_is_spelt_alike_in_every_format")
_TABLE_JOB = Covered("e2e/datasets/test_tables.py", "test_a_student_of_categories_is_trained_and_keeps_them")

TABLE: Final[Mapping[str, Mapping[str, Cell]]] = {
    "1 layouts": _cells(
        (_FILES, _LAYOUT),
        (_MODELS[:2], _SHAPE_PATHS),
        ("teacher columns", NotApplicable("outputs have no layout: a row of them is one list of numbers")),
        (_TARGETS, _INPUTS),
        ("dry run", _SHAPE_DRY),
        (("preflight", "job"), _SHAPE_PATHS),
    ),
    "2 what a teacher's numbers mean": _cells(
        (_FILES, _COLUMNS_MEANING),
        (_MODELS[:2], _DECLARED),
        ("teacher columns", _COLUMNS_MEANING),
        ("class", _MEANING),
        (_TARGETS[1:], _MEANING_OTHERS),
        ("dry run", NotApplicable("it reads facts; the numbers are checked at the upload and at the first pass")),
        (("preflight", "job"), _FIRST_PASS),
    ),
    "2 agreement of a teacher with labels": _cells(
        (_FILES, NotApplicable("labels are the same in every format, see `2 values of labels`")),
        (
            _MODELS[:2],
            Covered(
                "engine/jobs/preflight/test_unfit_teachers.py",
                "test_a_model_of_values_is_compared_and_its_forgotten_scale_named",
            ),
        ),
        ("teacher columns", _UNFIT),
        (
            "class",
            Covered(
                "engine/teachers/test_class_selection.py",
                "test_a_mapping_to_the_wrong_classes_is_found_before_training",
            ),
        ),
        ("value", Covered(_ASSESSED, "test_a_teacher_of_values_that_is_worse_than_their_mean_is_refused")),
        ("multilabel", Covered(_ASSESSED, "test_labels_are_compared_by_their_ranking_not_by_a_threshold")),
        ("vector", Covered(_ASSESSED, "test_vectors_are_compared_over_all_their_numbers")),
        ("dry run", NotApplicable("it runs no teacher")),
        (("preflight", "job"), _UNFIT),
    ),
    "2 rows without an output of a teacher": _cells(
        (_FILES, NotApplicable("missing numbers are the same in every format, see `2 values of labels`")),
        (_MODELS[:2], NotApplicable("a model has outputs for every row, or is refused: `teacher_not_finite`")),
        (("teacher columns", *_TARGETS, "preflight", "job"), _HOLES),
        (
            "dry run",
            Covered(
                "contracts/resolving/distillation/test_rows.py", "test_rows_without_an_output_are_counted_by_split"
            ),
        ),
    ),
    "2 teachers of a rare class": _cells(
        (_FILES, NotApplicable("labels are the same in every format, see `2 values of labels`")),
        (_MODELS, _RARE),
        ("class", _RARE),
        ("multilabel", Covered(_ASSESSED, "test_labels_are_compared_by_their_ranking_not_by_a_threshold")),
        (("value", "vector"), NotApplicable("numbers have no classes")),
        ("dry run", NotApplicable("it runs no teacher")),
        (("preflight", "job"), _RARE_JOB),
    ),
    "2 values of labels": _cells(
        (_FILES, _LABEL),
        (_MODELS, _DATASET),
        ("class", _LABEL),
        ("value", _NUMBER),
        ("multilabel", _YES),
        ("vector", _NUMBER),
        (("dry run", "preflight", "job"), _AT_UPLOAD),
    ),
    "3 conventions that swallow data": _cells(
        (_FILES, _COUNTED),
        (_MODELS, _DATASET),
        (_TARGETS, _UNUSUAL),
        ("dry run", _REPEATED),
        ("preflight", _REPEATED),
        ("job", _REPORTED),
    ),
    "1 other readings of the first side": _cells(
        (_FILES, NotApplicable("it is about shapes of rows, whatever the file")),
        (_MODELS, NotApplicable("a teacher's own shape is compared with the rows, see `1 layouts`")),
        (_TARGETS, _INPUTS),
        (
            ("dry run", "preflight"),
            Covered(
                "contracts/resolving/data/test_layouts.py",
                "test_whoever_takes_the_first_side_for_channels_tells_of_another_reading",
            ),
        ),
        ("job", NotApplicable("its report repeats the warnings of the dry run, see `3 conventions that swallow data`")),
    ),
    "3 order of columns": _cells(
        (_FILES, Covered("engine/data/tables/test_values.py", "test_columns_are_known_in_their_order_in_every_format")),
        (
            "family model",
            Covered(
                "engine/jobs/datasets/test_meaning_of_columns.py",
                "test_a_student_keeps_its_columns_and_does_not_teach_on_them_in_another_order",
            ),
        ),
        (
            "ONNX model",
            Covered(
                "contracts/resolving/data/test_column_order.py",
                "test_a_teacher_of_the_same_or_unknown_columns_is_taken_and_of_others_with_a_warning",
            ),
        ),
        ("teacher columns", NotApplicable("they are of the same rows, whatever the order of the inputs")),
        (_TARGETS, _INPUTS),
        (
            ("dry run", "preflight", "job"),
            Covered(
                "contracts/resolving/data/test_column_order.py",
                "test_joined_datasets_with_the_columns_in_another_order_are_refused_with_the_order",
            ),
        ),
    ),
    "3 class numbers beside class names": _cells(
        (_FILES, NotApplicable("it is about facts of several datasets, whatever their files")),
        (_MODELS, NotApplicable("their classes are compared with the labels, see `2 agreement of a teacher`")),
        (
            ("class", "job"),
            Covered(
                "engine/jobs/datasets/test_meaning_of_columns.py",
                "test_class_numbers_are_read_as_the_names_that_they_are",
            ),
        ),
        (_TARGETS[1:], NotApplicable("only classes have names")),
        (
            ("dry run", "preflight"),
            Covered(
                "contracts/resolving/data/test_class_names.py",
                "test_numbers_that_were_read_as_names_are_told_in_any_order_of_the_datasets",
            ),
        ),
    ),
    "3 splits and constants of every kind": _cells(
        (_FILES, NotApplicable("it is about the numbers that were read, whatever the file")),
        (_MODELS, _DATASET),
        (
            "class",
            Covered(
                "engine/data/quality/test_coverage.py",
                "test_a_file_sorted_by_class_in_ordered_splits_is_told_for_both_splits",
            ),
        ),
        (_TARGETS[1:], Covered("engine/data/quality/test_coverage.py", "test_a_constant_target_is_told")),
        (("dry run", "preflight"), _REPEATED),
        ("job", _REPORTED),
    ),
    "4 precision far from zero": _cells(
        (_FILES, _OFFSET),
        (
            _MODELS[:2],
            Covered(
                "engine/data/rows/test_precision.py", "test_rows_in_float32_are_centred_before_they_are_rounded_again"
            ),
        ),
        ("teacher columns", _OFFSET_VECTORS),
        (("class", "multilabel"), NotApplicable("labels are whole numbers below 65 537, which float32 holds")),
        ("value", _OFFSET),
        ("vector", _OFFSET_VECTORS),
        (
            "dry run",
            Covered("contracts/resolving/data/test_layouts.py", "test_what_a_dataset_warns_of_stands_in_the_dry_run"),
        ),
        ("preflight", NotApplicable("it trains by the same loop as a job")),
        ("job", _OFFSET_JOB),
    ),
    "4 numbers that float32 lacks, for graphs of wide types": _cells(
        (
            _FILES,
            Covered("engine/data/rows/test_precision.py", "test_exact_rows_are_those_of_the_file_in_every_format"),
        ),
        ("family model", NotApplicable("a network computes in float32, after the transform")),
        (
            "ONNX model",
            Covered(
                "engine/jobs/inspection/test_reference.py",
                "test_reference_rows_far_from_zero_are_centred_before_they_are_rounded",
            ),
        ),
        ("teacher columns", _GRAPH),
        (_TARGETS, _INPUTS),
        ("dry run", NotApplicable("it reads facts; numbers are read by the preflight and the job")),
        (("preflight", "job"), _WIDE),
    ),
    "4 numbers in small units": _cells(
        (_FILES, _UNITS),
        (_MODELS[:2], Covered("engine/data/rows/test_deviation.py", _UPLOADED)),
        ("teacher columns", Covered(_ASSESSED, "test_small_units_are_no_constant")),
        (("class", "multilabel"), NotApplicable("labels have no unit")),
        (
            ("value", "vector"),
            Covered("engine/data/rows/test_deviation.py", "test_values_and_vectors_have_their_deviation_in_any_unit"),
        ),
        ("dry run", NotApplicable("it reads facts, which the upload has checked")),
        ("preflight", NotApplicable("it trains by the same loop as a job")),
        (
            "job",
            Covered("engine/jobs/datasets/scales/test_small_units.py", "test_a_student_is_as_good_in_small_units"),
        ),
    ),
    "5 outputs that depend on the batch or on chance": _cells(
        (_FILES, _MODEL),
        ("family model", _CONSISTENT),
        ("ONNX model", _BATCH),
        ("teacher columns", _GRAPH),
        (_TARGETS, NotApplicable("outputs are compared as numbers, whatever they mean")),
        ("dry run", NotApplicable("it runs no teacher")),
        (
            ("preflight", "job"),
            Covered(
                "engine/jobs/preflight/test_unstable_teachers.py",
                "test_outputs_that_depend_on_the_batch_end_preflight_and_job",
            ),
        ),
    ),
    "6 unknown is null": _cells(
        (_FILES, _MODEL),
        ("family model", NotApplicable("the architecture says its number of parameters")),
        ("ONNX model", _COUNT),
        ("teacher columns", NotApplicable("columns have no parameters: null")),
        (_TARGETS, _ANY_TARGET),
        (("dry run", "preflight"), NotApplicable("they show the student's size, whose architecture is known")),
        ("job", Covered("engine/evaluation/test_report.py", "test_an_unknown_cost_gives_no_ratio")),
    ),
    "7 reference rows": _cells(
        (_FILES, _MODEL),
        ("family model", _REFERENCE),
        ("ONNX model", _REFERENCE_GRAPH),
        ("teacher columns", _GRAPH),
        (_TARGETS, NotApplicable("outputs are compared as numbers, whatever they mean")),
        (("dry run", "preflight", "job"), _AT_UPLOAD),
    ),
    "8 rows that an inspection invents": _cells(
        (_FILES, _MODEL),
        ("family model", NotApplicable("a network has finite outputs for all finite rows, or wrong weights")),
        ("ONNX model", Covered(_FIRST_TRIAL, "test_every_type_is_tried_with_numbers_that_it_has")),
        ("teacher columns", _GRAPH),
        (_TARGETS, Covered(_FIRST_TRIAL, "test_what_an_output_means_is_checked_on_the_rows_that_are_finite")),
        (("dry run", "preflight", "job"), _AT_UPLOAD),
    ),
    "8 graphs and several inputs": _cells(
        (
            _FILES,
            Covered("engine/jobs/datasets/test_several_inputs.py", "test_a_student_reads_the_inputs_that_it_selects"),
        ),
        (
            "family model",
            Covered(
                "engine/jobs/datasets/test_several_inputs.py",
                "test_a_student_of_several_inputs_teaches_as_it_was_trained",
            ),
        ),
        (
            "ONNX model",
            Covered("engine/jobs/inspection/graphs/test_inputs.py", "test_several_inputs_are_matched_by_name"),
        ),
        ("teacher columns", _GRAPH),
        (_TARGETS, _INPUTS),
        (
            "dry run",
            Covered(
                "contracts/resolving/data/test_inputs.py", "test_what_cannot_be_concatenated_is_refused_with_a_way_out"
            ),
        ),
        ("preflight", NotApplicable("it opens teachers as a job does")),
        ("job", _GRAPH_JOB),
    ),
    "9 checkpoints": _cells(
        (_FILES, _MODEL),
        ("family model", _CHECKPOINT),
        ("ONNX model", NotApplicable("a graph carries its own weights")),
        ("teacher columns", _GRAPH),
        (_TARGETS, _ANY_TARGET),
        (("dry run", "preflight", "job"), _AT_UPLOAD),
    ),
    "10 tables": _cells(
        (("npz", "parquet", "jsonl"), _CATEGORY),
        ("csv", _ONE_TABLE),
        (
            "family model",
            Covered("contracts/resolving/test_resolve.py", "test_a_teacher_of_other_categories_is_refused"),
        ),
        ("ONNX model", NotApplicable("a graph reads numbers: the dataset's categories are its own")),
        ("teacher columns", NotApplicable("they are numbers, see `2 values of labels`")),
        ("class", _LABEL),
        ("value", _NUMBER),
        ("multilabel", _YES),
        ("vector", _NUMBER),
        ("dry run", Covered("contracts/resolving/test_resolve.py", "test_a_teacher_of_other_categories_is_refused")),
        ("preflight", NotApplicable("it reads the dataset as a job does")),
        ("job", _TABLE_JOB),
    ),
    "10 values that are no category": _cells(
        (
            _FILES,
            Covered("engine/data/quality/test_categories.py", "test_missing_and_unseen_values_are_counted_by_split"),
        ),
        (_MODELS, NotApplicable("a teacher's categories are compared as a list, see `10 tables`")),
        (_TARGETS, _INPUTS),
        (("dry run", "preflight"), _REPEATED),
        ("job", _REPORTED),
    ),
    "11 teachers of other classes": _cells(
        (_FILES, NotApplicable("it is about classes that facts name, whatever the file")),
        (
            _MODELS[:2],
            Covered("engine/teachers/test_class_selection.py", "test_the_store_has_all_classes_and_serves_both_jobs"),
        ),
        (
            "teacher columns",
            Covered("engine/teachers/test_class_selection.py", "test_it_teaches_as_a_teacher_of_these_classes_alone"),
        ),
        ("class", Covered("engine/teachers/test_class_selection.py", "test_selected_classes_are_renormalised")),
        (_TARGETS[1:], NotApplicable("only classes are exclusive, so that the rest can be renormalised")),
        (
            "dry run",
            Covered(
                "contracts/resolving/distillation/test_classes.py",
                "test_a_mapping_that_does_not_name_each_class_once_is_refused",
            ),
        ),
        (
            ("preflight", "job"),
            Covered(
                "engine/teachers/test_class_selection.py",
                "test_a_mapping_to_the_wrong_classes_is_found_before_training",
            ),
        ),
    ),
    "12 messages with a way out": _cells(
        (PATHS, Covered("architecture/errors/test_error_messages.py", "test_every_message_ends_in_a_way_out")),
    ),
}


def markdown() -> str:
    """The table: a row for each cell."""
    lines = ["| kind | path | test, or why there is none |", "|---|---|---|"]
    for kind, cells in TABLE.items():
        for path, cell in cells.items():
            shown = (
                f"`{cell.file}::{cell.name}`"
                if isinstance(cell, Covered)
                else f"does not apply, because {cell.because}"
            )
            lines.append(f"| {kind} | {path} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
