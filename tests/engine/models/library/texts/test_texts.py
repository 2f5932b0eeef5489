"""Networks of transformers that read tokens: measured where nothing is computed, and independent of padding."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.specs.families.library import HuggingFace, MeasuredTrunk
from tests.engine.models.library.text_folders import CONFIGS, LENGTH, PAD, SEP, VOCABULARY, described, network, rows
from tests.exhaustive import sample
from workers.engine.models.build import build
from workers.engine.models.families.library.huggingface import configuration
from workers.engine.models.families.library.measure import measure
from workers.engine.models.families.library.network import LibraryNetwork
from workers.engine.models.families.library.tokens import is_token
from workers.engine.models.initialise import initialise
from workers.engine.models.taps import Taps

KEPT = ["bert", "distilbert", "roberta", "electra", "albert", "gpt2", "modernbert", "deberta-v2", "mistral"]


def built(name: str, **changed: Any) -> LibraryNetwork:
    """A student of a type with drawn weights, in evaluation mode."""
    made = build(described(name, **changed))
    assert isinstance(made, LibraryNetwork)
    initialise(made, 0)
    return made.eval()


def measurement(made: HuggingFace) -> MeasuredTrunk:
    """What was measured of a network."""
    assert made.measured is not None
    return made.measured


def outputs(made: LibraryNetwork, ids: Tensor) -> Tensor:
    """The outputs for ids."""
    with torch.no_grad():
        found: Tensor = made(ids)["y"]
    return found


@pytest.mark.parametrize("name", sample(CONFIGS, KEPT))
def test_a_trunk_of_each_type_is_measured(name: str) -> None:
    found, theirs = measurement(described(name)), network(name)
    assert found.classifier is not None
    classifier = theirs.get_submodule(found.classifier)
    of_classifier = sum(each.numel() for each in classifier.parameters())
    assert found.parameters == sum(each.numel() for each in theirs.parameters()) - of_classifier
    assert found.features == classifier.in_features
    assert (found.vocabulary, found.padding) == (VOCABULARY, theirs.config.pad_token_id)
    assert found.depth > 4
    assert found.flops > 2 * LENGTH * 1000
    assert found.normalized or name in ("llama", "mistral", "qwen2", "qwen3", "smollm3", "mobilebert")


def test_a_large_network_is_measured_without_memory_for_it() -> None:
    made = HuggingFace.model_validate({"family": "huggingface", "name": "bert"})
    found = measure(made, (128,))
    assert found.parameters == 109_482_240 - (512 - 128) * 768
    assert found.flops == pytest.approx(2 * 11.17e9, rel=0.01)
    assert found.flops > 1.9 * measure(made, (64,)).flops
    assert [(each.name, each.shape) for each in found.layers[:1]] == [("trunk.bert.encoder.layer.0", (128, 768))]


@pytest.mark.parametrize("name", sample(CONFIGS, KEPT))
def test_outputs_do_not_depend_on_how_much_padding_follows(name: str) -> None:
    made = built(name)
    with torch.no_grad():
        for each in made.parameters():  # so that outputs differ by more than rounding
            each.add_(torch.randn(each.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
    padding = measurement(described(name)).padding
    assert padding is not None
    ids = rows(padding)
    whole = outputs(made, ids.float())
    torch.testing.assert_close(outputs(made, ids[1:4, :10]), whole[1:4], rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs(made, ids[3:4, :3]), whole[3:4], rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs(made, ids.int()), whole, rtol=0, atol=0)
    assert float(whole.std(dim=0).mean()) > 1e-3


@pytest.mark.parametrize("name", sample(CONFIGS, KEPT))
def test_rows_of_padding_alone_have_finite_outputs_and_gradients(name: str) -> None:
    made = built(name).train()
    padding = measurement(described(name)).padding or 0
    ids = rows(padding)
    ids[0] = padding
    made(ids.float())["y"].square().sum().backward()
    found = [each.grad for each in made.parameters() if each.grad is not None]
    assert all(bool(each.isfinite().all()) for each in found)
    assert len(found) > len(list(made.parameters())) // 2


def test_padding_within_a_row_is_a_token() -> None:
    ids = torch.tensor([[0, 5, 0, 6, 0, 0], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    assert is_token(ids, 0).sum(dim=1).tolist() == [4, 1, 6]
    made = built("gpt2", pad_token_id=SEP, eos_token_id=SEP)
    ends = torch.tensor([[5, SEP, 6, 7, SEP, SEP]])
    others = torch.tensor([[5, 8, 6, 7, SEP, SEP]])
    assert not torch.allclose(outputs(made, ends), outputs(made, others), atol=1e-5)


def test_layers_of_a_network_of_texts_are_tapped() -> None:
    made = built("bert")
    name = measurement(described("bert")).layers[0].name
    taps = Taps(made, [name])
    outputs(made, rows(PAD)[:, :10])
    assert taps.take()[name].shape == (6, 10, 32)


def test_the_second_text_of_a_pair_is_told_by_the_separator() -> None:
    pair = torch.tensor([[2, 5, SEP, 6, SEP, PAD]])
    theirs, made = network("bert"), built("bert", sep_token_id=SEP)
    made.load_state_dict({key: theirs.state_dict()[made.file_name(key)] for key in made.state_dict()})
    types = torch.tensor([[0, 0, 0, 1, 1, 0]])
    with torch.no_grad():
        expected = theirs(input_ids=pair, attention_mask=(pair != PAD).long(), token_type_ids=types).logits
    torch.testing.assert_close(outputs(made, pair), expected, rtol=0, atol=1e-6)


def test_weights_are_drawn_as_a_function_of_the_seed() -> None:
    first, again, other = (build(described("electra")) for _ in range(3))
    for made, seed in ((first, 1), (again, 1), (other, 2)):
        initialise(made, seed)
    ids = rows(PAD).float()
    assert torch.equal(first.eval()(ids)["y"], again.eval()(ids)["y"])
    assert not torch.allclose(first(ids)["y"], other.eval()(ids)["y"])


@pytest.mark.parametrize(
    ("name", "padding", "positions"),
    [("bert", 0, 24), ("roberta", 0, 25), ("roberta", 1, 26), ("mpnet", 1, 26), ("mobilebert", 0, 25), ("gpt2", 0, 24)],
)
def test_a_student_has_positions_for_its_rows(name: str, padding: int, positions: int) -> None:
    own = {key: value for key, value in CONFIGS[name].items() if key not in ("max_position_embeddings", "n_positions")}
    made = HuggingFace.model_validate(
        {"family": "huggingface", "name": name, "config": {**own, "pad_token_id": padding}}
    )
    config = configuration(made, (LENGTH,), 3)
    assert config.max_position_embeddings == positions
    measure(made, (LENGTH,))
    key = "n_positions" if name == "gpt2" else "max_position_embeddings"
    narrow = made.model_copy(update={"config": {**made.config, key: positions - 1}})
    with pytest.raises(UserError) as caught:
        measure(narrow, (LENGTH,))
    assert caught.value.code == "unsupported_config"
    assert f"expected {positions} or more" in caught.value.message


def test_rotary_positions_are_not_made_fewer() -> None:
    own = {key: value for key, value in CONFIGS["llama"].items() if key != "max_position_embeddings"}
    made = HuggingFace.model_validate({"family": "huggingface", "name": "llama", "config": own})
    assert configuration(made, (LENGTH,), 3).max_position_embeddings == 2048


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a decoder without padding": ("gpt2", {}, "`pad_token_id` is None"),
    "padding outside the vocabulary": ("bert", {"vocab_size": 10, "pad_token_id": 10}, "`pad_token_id` is 10"),
    "padding that is a fraction": ("gpt2", {"pad_token_id": 0.5}, "`pad_token_id` is 0.5"),
    "no vocabulary": ("bert", {"vocab_size": 0}, "`vocab_size` is 0"),
    "65 layers": ("bert", {"num_hidden_layers": 65}, "64 at most"),
    "65 layers of gpt2": ("gpt2", {"n_layer": 65, "pad_token_id": 0}, "64 at most"),
    "65 groups of albert": ("albert", {"inner_group_num": 65}, "64 at most"),
    "a key that has one value": ("bert", {"is_decoder": True}, "`is_decoder`"),
    "a key of another type": ("bert", {"n_layer": 2}, "`n_layer`"),
    "a table in place of a number": ("bert", {"hidden_size": {"a": 1}}, "`hidden_size`"),
    "positions that depend on the batch": (
        "llama",
        {"pad_token_id": 0, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        "`rope_type` is 'dynamic'",
    ),
    "positions of one kind of layers alone": (
        "modernbert",
        {"rope_parameters": {"full_attention": {"rope_type": "longrope"}}},
        "`rope_type` is 'longrope'",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_configuration_that_does_not_go_together_is_refused_by_name(fault: str) -> None:
    name, config, expected = REFUSED[fault]
    made = HuggingFace.model_validate({"family": "huggingface", "name": name, "config": config})
    with pytest.raises(UserError) as caught:
        measure(made, (LENGTH,))
    assert caught.value.code == "unsupported_config"
    assert expected in caught.value.message


def test_a_network_that_gives_a_vector_for_each_token_is_refused() -> None:
    config = {**described("modernbert").config, "classifier_pooling": "none"}
    with pytest.raises(UserError) as caught:
        measure(described("modernbert").model_copy(update={"config": config}), (LENGTH,))
    assert caught.value.code in ("network_misfit", "unsupported_config")


def test_ids_outside_the_vocabulary_are_no_tokens() -> None:
    with pytest.raises(IndexError):
        outputs(built("bert"), torch.full((1, 4), VOCABULARY))


def test_special_tokens_of_the_type_that_the_vocabulary_has_not_are_left_out() -> None:
    made = HuggingFace.model_validate({"family": "huggingface", "name": "modernbert"}).for_tokens(300, 0, 3)
    config = configuration(made, (LENGTH,), 3)
    assert (config.vocab_size, config.pad_token_id, config.sep_token_id) == (300, 0, 3)
    assert (config.cls_token_id, config.bos_token_id) == (None, None)


def test_a_network_says_what_its_rows_are() -> None:
    texts = HuggingFace.model_validate({"family": "huggingface", "name": "bert"})
    images = HuggingFace.model_validate({"family": "huggingface", "name": "vit"})
    assert (texts.reads, texts.extra, texts.sides_misfit((24,))) == ("tokens", "text", None)
    assert (images.reads, images.extra, images.sides_misfit((3, 32, 32))) == ("numbers", "vision", None)
    assert texts.sides_misfit((3, 32, 32)) == "[tokens]"
    assert images.sides_misfit((24,)) == "[channels, height, width]"
    assert [each.code for each in texts.misfits((2049,))] == ["shape_mismatch"]
    assert texts.misfits((2048,)) == []


@pytest.mark.parametrize(
    "config", [{"hidden_size": 20_000}, {"vocab_size": (1 << 20) + 1}, {"x": {"a": {"b": {"c": 1}}}}, {"n": (1,) * 65}]
)
def test_sizes_of_a_configuration_are_bounded(config: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, UserError)):
        measure(HuggingFace.model_validate({"family": "huggingface", "name": "bert", "config": config}), (LENGTH,))
