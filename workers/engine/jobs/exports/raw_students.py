"""A trained student with the inputs of its datasets: what every export of it is made of."""

from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.raw_rows import RawInput
from app.contracts.resources.row_layouts import transform_for
from app.contracts.specs.architectures import Architecture
from workers.engine.export.raw_student import RawStudent
from workers.engine.jobs.trained import Trained


def raw_student(trained: Trained) -> RawStudent:
    """The exported student of a job."""
    network = trained.student.network
    architecture = network.architecture
    outputs = {each.student.name: each.student.spec for each in trained.tasks}
    inputs, shapes = inputs_of(trained, architecture), input_shapes_of(trained, architecture)
    return RawStudent.of(network, inputs, shapes, outputs, forms_of(trained))


def forms_of(trained: Trained) -> dict[str, RawInput]:
    """How the inputs that the student reads stand in the files of the job."""
    data = trained.data
    uploaded = data.dataset.uploaded
    return {name: uploaded.inputs[name].form for name in data.names} if uploaded is not None else {}


def inputs_of(trained: Trained, architecture: Architecture) -> dict[str, InputTransform]:
    """The dataset's transforms; that of a single input is for rows in the network's input shape."""
    data = trained.data
    transforms, shapes = data.dataset.transforms, data.layout.shapes
    if len(shapes) > 1:
        return {name: transforms[name] for name in shapes}
    ((name, rows),) = shapes.items()
    transform, shape = transforms[name], architecture.input_shape or rows
    if transform.tokens is not None:  # rows may be narrower than the longest that the network reads
        return {name: InputTransform(tokens=transform.tokens.model_copy(update={"length": shape[0]}))}
    return {name: transform_for(transform, rows, shape)}


def input_shapes_of(trained: Trained, architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of each input; that of a single one is the network's."""
    shapes = dict(trained.data.layout.shapes)
    if len(shapes) == 1 and architecture.input_shape is not None:
        return dict.fromkeys(shapes, architecture.input_shape)
    return shapes
