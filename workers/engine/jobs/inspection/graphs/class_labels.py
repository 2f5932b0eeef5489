"""The class names that classifiers of scikit-learn and of gradient boosting keep in their graphs."""

from collections.abc import Iterator, Mapping

import onnx

from app.contracts.problems import UserError
from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.manifests import ClassOutput
from workers.engine.jobs.inspection.graphs.walk import graphs_of


def class_labels(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """The class of each score, in order, where all classifiers of the graph agree; None for whole numbers from 0 on."""
    found = set(_labels(model))
    if len(found) != 1:
        return None
    labels = next(iter(found))
    usual = tuple(str(i) for i in range(len(labels)))
    return None if labels == usual or len(set(labels)) < len(labels) else labels


def _labels(model: onnx.ModelProto) -> Iterator[tuple[str, ...]]:
    for graph in graphs_of(model):
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name == "classlabels_strings" and attribute.strings:
                    yield tuple(text.decode("utf-8", "replace") for text in attribute.strings)
                if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                    yield tuple(str(number) for number in attribute.ints)


def with_labels(
    outputs: Mapping[str, OutputFacts], labels: tuple[str, ...] | None
) -> tuple[dict[str, OutputFacts], tuple[dict[str, str], ...]]:
    """(the outputs, the only class output of as many scores with these names where the manifest gives none; what was
    taken, as a warning). Raises UserError `wrong_output` where the manifest has the same names in another order.
    """
    for name, facts in outputs.items():
        _check_order(name, facts, labels)
    fitting = [name for name, facts in outputs.items() if labels is not None and _takes(facts, labels)]
    if labels is None or len(fitting) != 1:
        return dict(outputs), ()
    (name,) = fitting
    spec = outputs[name].spec.model_copy(update={"classes": labels})
    shown = ", ".join(f"`{label}`" for label in labels[:5]) + (" …" if len(labels) > 5 else "")
    message = (
        f"the classes of `{name}` are named as in the graph, in its order: {shown}. Name them in the manifest's "
        "`classes` where they are others"
    )
    return {**outputs, name: OutputFacts(spec=spec, size=outputs[name].size)}, (
        {"code": "class_names_taken", "message": message},
    )


def _check_order(name: str, facts: OutputFacts, labels: tuple[str, ...] | None) -> None:
    own = facts.spec.classes if isinstance(facts.spec, ClassOutput) else None
    if labels is None or own is None or own == labels or sorted(own) != sorted(labels):
        return
    place = next(i for i, (a, b) in enumerate(zip(own, labels, strict=True)) if a != b)
    raise UserError(
        "wrong_output",
        f"`{name}`: expected `classes` in the order of the graph's scores, found `{own[place][:60]}` where the graph "
        f"has `{labels[place][:60]}` (score {place}): list them as the graph does, or leave `classes` out",
    )


def _takes(facts: OutputFacts, labels: tuple[str, ...]) -> bool:
    named = all(0 < len(label) <= 200 and label.isprintable() for label in labels)
    return named and isinstance(facts.spec, ClassOutput) and facts.spec.classes is None and facts.size == len(labels)
