"""What a teacher reads of raw rows: its inputs, in its shape, each after its own transform."""

import pytest
import torch

from app.contracts.resolving.data.inputs import inputs_read
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.resources.manifests import ClassOutput, InputTransform
from workers.engine.data.rows.joined import InputLayout
from workers.engine.data.transform import apply
from workers.engine.teachers.reading import Reading, feeds_of

CHANNELS = InputTransform(scale=0.5, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
IMAGES = torch.arange(2 * 48, dtype=torch.float32).reshape(2, 3, 4, 4)
PREPARED = (IMAGES * 0.5 - torch.tensor(CHANNELS.mean).reshape(3, 1, 1)) / torch.tensor(CHANNELS.std).reshape(3, 1, 1)


def model(transform: InputTransform, shape: tuple[int, ...]) -> ModelFacts:
    return ModelFacts(
        architecture=None,
        input_shape=shape,
        inputs={"image": transform},
        input_shapes={"image": shape},
        outputs={"label": OutputFacts(spec=ClassOutput(kind="class"), size=3)},
        parameters=None,
    )


@pytest.mark.parametrize("others", [(), ("numbers",)], ids=["alone", "beside others"])
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "images"])
def test_rows_are_brought_into_the_teachers_shape_before_its_statistics_of_channels(
    others: tuple[str, ...], flat: bool
) -> None:
    shape = (48,) if flat else (3, 4, 4)
    layout = InputLayout({"image": shape, **dict.fromkeys(others, (5,))})
    raw = torch.cat([IMAGES.flatten(1), torch.ones(2, 5)], dim=1) if others else IMAGES.reshape(2, *shape)
    torch.testing.assert_close(Reading.of(model(CHANNELS, (3, 4, 4)), layout).prepare(raw), PREPARED)


OPEN = {"image": (None, None, 3)}


def graph_facts(**more: object) -> ModelFacts:
    """A graph whose channels are last."""
    transform = CHANNELS.model_copy(update={"layout": "channels_last"})
    fields = {"input_shape": None, "inputs": {"image": transform}, "graph_inputs": {"image": "image:0"}, **more}
    return model(transform, (4, 4, 3)).model_copy(update=fields)


def test_open_sides_of_a_graph_with_its_channels_last_are_those_of_the_moved_rows() -> None:
    facts, layout = graph_facts(input_shapes=OPEN), InputLayout({"image": (3, 5, 7)})
    assert inputs_read(facts, layout.shapes)[1] is None
    assert feeds_of(facts, Reading.of(facts, layout)).rows == {"image:0": (5, 7, 3)}


@pytest.mark.parametrize("shapes", [OPEN, {"image": (5, 7, 3)}], ids=["open", "fixed"])
def test_a_graph_of_several_inputs_compares_the_layout_of_each(shapes: dict[str, tuple[int | None, ...]]) -> None:
    facts = graph_facts(input_shapes={**shapes, "meta": (4,)}, graph_inputs={"image": "image:0", "meta": "meta:0"})
    right, wrong = ({"image": shape, "meta": (4,)} for shape in ((3, 5, 7), (5, 7, 3)))
    assert inputs_read(facts, right)[1] is None
    assert inputs_read(facts, wrong)[1] is not None
    reading = Reading.of(facts, InputLayout(right))
    assert feeds_of(facts, reading).rows == {"image:0": (5, 7, 3), "meta:0": (4,)}
    raw = torch.rand(2, 3 * 5 * 7 + 4)
    images = raw[:, :105].reshape(2, 3, 5, 7)
    found = reading.prepare(raw)[:, :105].reshape(2, 5, 7, 3)
    torch.testing.assert_close(found, apply(images, CHANNELS).movedim(1, -1))


@pytest.mark.parametrize("others", [(), ("numbers",)], ids=["alone", "beside others"])
def test_a_teacher_with_its_channels_last_gets_them_last(others: tuple[str, ...]) -> None:
    transform = CHANNELS.model_copy(update={"layout": "channels_last"})
    layout = InputLayout({"image": (3, 4, 4), **dict.fromkeys(others, (5,))})
    raw = torch.cat([IMAGES.flatten(1), torch.ones(2, 5)], dim=1) if others else IMAGES
    found = Reading.of(model(transform, (4, 4, 3)), layout).prepare(raw)
    torch.testing.assert_close(found, PREPARED.movedim(1, -1))
