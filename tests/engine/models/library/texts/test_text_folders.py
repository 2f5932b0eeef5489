"""Folders of networks for texts: read with the outputs of transformers, with their tokenizer, refused by name."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.manifests import ClassOutput, ModelInputSpec, ModelManifest, VectorOutput
from app.contracts.specs.families.huggingface_configs import classifies_by_first, is_alike_padded_before
from app.contracts.specs.families.library import HuggingFace
from app.contracts.wire.orders import InspectionOutcome, ModelInput
from tests.engine.jobs.inspection.uploads import MEBIBYTE, bounded_memory, ignore_event, inspection
from tests.engine.models.library.folders import packed
from tests.engine.models.library.text_folders import (
    CLASSES,
    CONFIGS,
    LENGTH,
    SEP,
    WITH_TYPES,
    network,
    rows,
    saved,
    tokenizer,
)
from tests.exhaustive import sample
from workers.engine.data.texts.tokenizer import TextTokenizer
from workers.engine.jobs.inspection.huggingface.convert import ConvertedFolder, convert_folder
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.models.build import build
from workers.engine.models.families.library.packages import package
from workers.engine.models.loading import load_weights
from workers.engine.models.network import Network

MANIFEST = ModelManifest.model_validate({"name": "m", "format": "huggingface", "outputs": {"label": {"kind": "class"}}})
TEXTS = ["the red owl", "an owl", "sky", "a much longer text about a red sky and the owl that is cut at its end"]


def inspected(path: Path, manifest: ModelManifest = MANIFEST) -> InspectionOutcome:
    """What an inspection answers."""
    upload = ModelInput(id="mdl_1", manifest=manifest, path=str(path), sha256="0" * 64)
    return inspect(inspection(path.parent, upload), ignore_event)


def read(path: Path) -> tuple[ModelFacts, Network, TextTokenizer]:
    """The facts, the network with its weights, and the tokenizer, as jobs get them."""
    outcome = inspected(path)
    assert outcome.model is not None, outcome.rejection
    files = {file.role: path.parent / "attempt" / "outputs" / file.path for file in outcome.files}
    architecture = outcome.model.architecture
    assert architecture is not None
    ours = build(architecture)
    ours.load_state_dict(load_weights(files["converted"], MANIFEST, architecture))
    return outcome.model, ours.eval(), TextTokenizer.of_file(files["tokenizer"])


def answers(ours: Network, ids: Tensor) -> Tensor:
    """Outputs for ids, which reach a network as float32."""
    with torch.no_grad():
        found: Tensor = ours(ids.float())["label"]
    return found


@pytest.mark.parametrize(
    "name", sample(CONFIGS, ["bert", "distilbert", "roberta", "electra", "albert", "gpt2", "modernbert"])
)
def test_a_folder_of_each_type_gives_the_outputs_of_transformers(name: str, tmp_path: Path) -> None:
    theirs = network(name)
    facts, ours, _ = read(packed(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"))
    padding = theirs.config.pad_token_id
    ids = rows(padding)[:, : (facts.input_shape or (0,))[0]]
    ids[0, -1] = padding  # a network that reads neighbours reads padding behind every row
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != padding).long()).logits
    torch.testing.assert_close(answers(ours, ids), expected, rtol=0, atol=1e-6)
    narrow = answers(ours, ids[1:4, :10])
    torch.testing.assert_close(narrow, expected[1:4], rtol=0, atol=1e-5)
    spec = facts.outputs["label"].spec
    assert isinstance(spec, ClassOutput)
    assert spec.classes == CLASSES
    bias = 3 if "score.weight" in theirs.state_dict() else 0
    assert facts.parameters == sum(each.numel() for each in theirs.parameters()) + bias


def test_the_mean_of_the_tokens_is_pooled_as_transformers_does(tmp_path: Path) -> None:
    theirs = network("modernbert", classifier_pooling="mean")
    facts, ours, _ = read(packed(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"))
    ids = rows(0)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != 0).long()).logits
    torch.testing.assert_close(answers(ours, ids), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(answers(ours, ids[1:4, :10]), expected[1:4], rtol=0, atol=1e-5)
    assert facts.architecture is not None


@pytest.mark.parametrize("name", ["bert", "gpt2", "modernbert"])
def test_texts_get_the_answers_of_transformers_through_the_tokenizer_of_the_folder(name: str, tmp_path: Path) -> None:
    theirs = network(name)
    facts, ours, words = read(packed(saved(theirs, tmp_path / "model", types=name == "bert"), tmp_path / "m.zip"))
    encoding = facts.inputs["text"].tokens
    assert encoding is not None
    assert (encoding.tokenizer, encoding.padding) == (words.sha256, 0)
    assert facts.input_shape == (encoding.length,)
    padded = torch.zeros(len(TEXTS), encoding.length, dtype=torch.int32)
    for row, ids in zip(padded, words.encode([(text,) for text in TEXTS], encoding.length), strict=True):
        row[: len(ids)] = torch.from_numpy(ids)
    fast = package("transformers").PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    batch = fast(TEXTS, padding=True, truncation=True, max_length=encoding.length, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**batch).logits
    torch.testing.assert_close(answers(ours, padded), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", sample(WITH_TYPES, ["bert"]))
def test_the_second_text_of_a_pair_has_its_own_token_type(name: str, tmp_path: Path) -> None:
    theirs = network(name)
    facts, ours, words = read(packed(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"))
    assert isinstance(facts.architecture, HuggingFace)
    assert facts.architecture.config["sep_token_id"] == SEP
    pairs = [("the red owl", "an owl"), ("sky", "a red sky")]
    batch = package("transformers").PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")(
        pairs, padding="max_length", max_length=LENGTH - 1, return_tensors="pt"
    )
    assert batch["token_type_ids"].any()
    padded = torch.zeros(len(pairs), LENGTH - 1)
    for row, ids in zip(padded, words.encode(pairs, LENGTH - 1), strict=True):
        row[: len(ids)] = torch.from_numpy(ids)
    with torch.no_grad():
        expected = theirs(**batch).logits
        typeless = theirs(**{key: value for key, value in batch.items() if key != "token_type_ids"}).logits
    torch.testing.assert_close(answers(ours, padded), expected, rtol=0, atol=1e-6)
    assert float((expected - typeless).abs().max()) > 1e-4


def test_a_tokenizer_without_types_gives_none(tmp_path: Path) -> None:
    folder = saved(network("bert"), tmp_path / "model", tokenizer(pairs=False))
    found = converted(packed(folder, tmp_path / "m.zip"))
    assert separator(found) is None


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("4.57.1", "PreTrainedTokenizerFast", SEP),
        ("5.24.0", "TokenizersBackend", None),
        ("5.24.0", "BertTokenizer", SEP),
        ("5.24.0", "AlbertTokenizer", None),
    ],
)
def test_types_are_given_as_the_version_that_wrote_the_folder_gives_them(
    version: str, kind: str, expected: int | None, tmp_path: Path
) -> None:
    folder = saved(network("bert"), tmp_path / "model")
    path = folder / "tokenizer_config.json"
    settings = {key: value for key, value in json.loads(path.read_text()).items() if key != "model_input_names"}
    path.write_text(json.dumps({**settings, "tokenizer_class": kind}))
    found = converted(packed(folder, tmp_path / "m.zip", transformers_version=version))
    assert separator(found) == expected


def separator(found: ConvertedFolder) -> object:
    """The id behind which the second text of a pair begins."""
    assert isinstance(found.manifest.architecture, HuggingFace)
    return found.manifest.architecture.config.get("sep_token_id")


def converted(path: Path, manifest: ModelManifest = MANIFEST) -> ConvertedFolder:
    """What is read of a folder."""
    return convert_folder(path, path.parent / "converted.safetensors", manifest)


def test_shards_are_joined_and_the_input_has_the_name_of_the_manifest(tmp_path: Path) -> None:
    theirs = network("electra")
    folder = saved(theirs, tmp_path / "model", max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    manifest = MANIFEST.model_copy(update={"inputs": {"review": ModelInputSpec()}})
    found = converted(packed(folder, tmp_path / "m.zip"), manifest)
    assert list(found.manifest.inputs) == ["review"]
    assert load_file(tmp_path / "converted.safetensors").keys() == theirs.state_dict().keys()


EARLIER: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bert of version 4": (
        "bert",
        {
            "position_embedding_type": "absolute",
            "gradient_checkpointing": False,
            "pooler_type": "first",
        },
        {},
    ),
    "rotary base of llama": (
        "llama",
        {"rope_parameters": None, "rope_theta": 5000000.0, "rope_scaling": None, "pretraining_tp": 1},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5000000.0}},
    ),
    "flags of qwen": (
        "qwen2",
        {"rope_parameters": None, "rope_theta": 1000000, "use_mrope": False, "sliding_window": 32768},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "sliding_window": 32768},
    ),
    "rotary bases of modernbert": (
        "modernbert",
        {
            "rope_parameters": None,
            "layer_types": None,
            "global_rope_theta": 160000.0,
            "local_rope_theta": 20000.0,
            "global_attn_every_n_layers": 2,
        },
        {
            "layer_types": ("full_attention", "sliding_attention", "full_attention", "sliding_attention"),
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0},
            },
        },
    ),
}


@pytest.mark.parametrize("version", EARLIER)
def test_configurations_of_earlier_versions_are_translated(version: str, tmp_path: Path) -> None:
    name, changed, expected = EARLIER[version]
    found = converted(packed(saved(network(name), tmp_path / "model"), tmp_path / "m.zip", **changed))
    assert isinstance(found.manifest.architecture, HuggingFace)
    assert found.manifest.architecture.config.items() >= expected.items()


def test_sizes_that_equal_a_default_and_would_be_derived_otherwise_stay(tmp_path: Path) -> None:
    theirs = network("llama", head_dim=128)
    _, ours, _ = read(packed(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"))
    ids = rows(0)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != 0).long()).logits
    torch.testing.assert_close(answers(ours, ids), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("longest", "length"), [(1000000000000000019884624838656, LENGTH), (10, 10), (1e30, LENGTH), (LENGTH + 50, LENGTH)]
)
def test_rows_are_as_long_as_positions_and_tokenizer_allow(longest: float, length: int, tmp_path: Path) -> None:
    folder = saved(network("distilbert"), tmp_path / "model")
    with_setting(model_max_length=longest)(folder)
    found = converted(packed(folder, tmp_path / "m.zip"))
    tokens = found.manifest.inputs["text"].tokens
    assert tokens is not None
    assert tokens.length == length
    assert tokens.vocabulary == TextTokenizer(found.tokenizer or b"").vocabulary


def with_setting(**changed: Any) -> Callable[[Path], None]:
    """Write other keys of tokenizer_config.json."""

    def write(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return write


def with_config(**changed: Any) -> Callable[[Path], None]:
    """Write other keys of config.json; None leaves one out."""

    def write(folder: Path) -> None:
        path = folder / "config.json"
        config = {**json.loads(path.read_text()), **changed}
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return write


def with_tokenizer(content: bytes | Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Write another tokenizer.json, or change its document."""

    def write(folder: Path) -> None:
        path = folder / "tokenizer.json"
        if isinstance(content, bytes):
            path.write_bytes(content)
            return
        document = json.loads(path.read_text())
        content(document)
        path.write_text(json.dumps(document))

    return write


def _second_type_first(document: dict[str, Any]) -> None:
    document["post_processor"]["pair"][1]["Sequence"]["type_id"] = 1


def _regex(document: dict[str, Any]) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    document["pre_tokenizer"] = split
    document["normalizer"] = {"type": "Replace", "pattern": {"String": "b"}, "content": "a" * 40 + "!"}


def settings_of_a_list(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[]")


def only_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.txt")


HOSTILE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no fast tokenizer": (only_vocabulary, "unusable_tokenizer", "`vocab.txt`"),
    "a tokenizer that ends early": (with_tokenizer(b'{"version": "1.0", "mod'), "unusable_tokenizer", "tokenizers"),
    "a tokenizer that is not UTF-8": (with_tokenizer(b"\xff\xfe{}"), "unusable_tokenizer", "tokenizers"),
    "a tokenizer that is nested": (with_tokenizer(b'{"a":' * 100_000), "unusable_tokenizer", "tokenizers"),
    "a tokenizer whose pattern takes too long": (with_tokenizer(_regex), "unusable_tokenizer", "encode"),
    "ids above the table": (
        with_tokenizer(lambda document: document["model"]["vocab"].update(sky=10**6)),
        "unusable_tokenizer",
        "1000000",
    ),
    "types that do not follow from ids": (with_tokenizer(_second_type_first), "unusable_tokenizer", "types"),
    "letters that stay as they are": (with_setting(do_lower_case=False), "unusable_tokenizer", "do_lower_case"),
    "accents that stay": (with_setting(strip_accents=False), "unusable_tokenizer", "strip_accents"),
    "a first token that is not there": (
        with_setting(add_bos_token=True, bos_token={"content": "red"}),
        "unusable_tokenizer",
        "add_bos_token",
    ),
    "a length below nought": (with_setting(model_max_length=-5), "unusable_tokenizer", "model_max_length"),
    "a length of text": (with_setting(model_max_length="512"), "unusable_tokenizer", "model_max_length"),
    "a length that is no number": (with_setting(model_max_length=float("nan")), "unusable_tokenizer", "nan"),
    "rows without place for a text": (with_setting(model_max_length=3), "unusable_tokenizer", "special"),
    "settings that are a list": (
        settings_of_a_list,
        "unreadable",
        "tokenizer_config.json",
    ),
    "a language model": (with_config(architectures=["BertForMaskedLM"]), "unsupported_config", "BertForMaskedLM"),
    "two architectures": (
        with_config(architectures=["AForSequenceClassification", "BForSequenceClassification"]),
        "unsupported_config",
        "architectures",
    ),
    "code of a stranger": (with_config(auto_map={"AutoModel": "a--b.C"}), "unsupported_config", "auto_map"),
    "3000 layers": (with_config(num_hidden_layers=3000), "unsupported_config", "64 at most"),
    "a vocabulary of a thousand million": (with_config(vocab_size=10**9), "unsupported_config", "vocab_size"),
    "a vocabulary of a million": (with_config(vocab_size=1 << 20), "wrong_shape", "word_embeddings"),
    "a vocabulary smaller than the tokenizer's": (with_config(vocab_size=8), "unusable_tokenizer", "vocab_size"),
    "padding outside the vocabulary": (with_config(pad_token_id=5000), "unsupported_config", "pad_token_id"),
    "padding below nought": (with_config(pad_token_id=-1), "unsupported_config", "pad_token_id"),
    "positions for no token": (with_config(max_position_embeddings=0), "unsupported_config", "max_position"),
    "a million positions": (with_config(max_position_embeddings=1 << 20), "wrong_shape", "position"),
    "a decoder of bert": (with_config(is_decoder=True), "unsupported_config", "is_decoder"),
    "relative positions": (with_config(position_embedding_type="relative_key"), "unsupported_config", "position"),
    "an activation that is a path": (with_config(hidden_act="os.system"), "unsupported_config", "hidden_act"),
    "a table where a number belongs": (with_config(hidden_size={"a": 1}), "unsupported_config", "hidden_size"),
}


def hostile(folder: Path, path: Path) -> Path:
    """A zip of a folder as it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"model/{file.name}")
    return path


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_folder_that_is_not_sound_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    change, code, expected = HOSTILE[fault]
    folder = saved(network("bert"), tmp_path / "model")
    change(folder)
    with bounded_memory(1024 * MEBIBYTE):
        found = inspected(hostile(folder, tmp_path / "m.zip")).rejection
    assert found is not None
    assert found.code == code, found.message
    assert expected in found.message
    assert ": " in found.message
    assert str(tmp_path) not in found.message


def test_a_language_model_for_vectors_is_refused_with_how_to_save_its_encoder(tmp_path: Path) -> None:
    folder = saved(network("bert"), tmp_path / "model")
    with_config(architectures=["BertForMaskedLM"])(folder)
    manifest = MANIFEST.model_copy(update={"outputs": {"meaning": VectorOutput(kind="vector")}})
    found = inspected(hostile(folder, tmp_path / "m.zip"), manifest).rejection
    assert found is not None
    assert "expected one …Model, an encoder without a head" in found.message
    assert "save the base model, by `AutoModel" in found.message
    assert "declare" not in found.message


def test_a_tokenizer_that_claims_too_much_is_not_unpacked(tmp_path: Path) -> None:
    folder = saved(network("bert"), tmp_path / "model")
    (folder / "tokenizer.json").write_bytes(b" " * (65 << 20))
    with bounded_memory(1024 * MEBIBYTE):
        found = inspected(hostile(folder, tmp_path / "m.zip")).rejection
    assert found is not None
    assert (found.code, "bytes" in found.message) == ("unreadable", True)


def test_a_decoder_without_padding_is_refused_with_the_way_out(tmp_path: Path) -> None:
    found = inspected(
        packed(saved(network("gpt2"), tmp_path / "model"), tmp_path / "m.zip", pad_token_id=None)
    ).rejection
    assert found is not None
    assert found.code == "unsupported_config"
    assert "end of text" in found.message


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_batch_are_refused(kind: str, tmp_path: Path) -> None:
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
    found = inspected(packed(saved(network("llama"), tmp_path / "model"), tmp_path / "m.zip", rope_parameters=rope))
    assert found.rejection is not None
    assert found.rejection.code == "unsupported_config", found.rejection.message


def test_an_input_with_a_transform_is_refused(tmp_path: Path) -> None:
    manifest = MANIFEST.model_copy(update={"inputs": {"review": ModelInputSpec(scale=2.0)}})
    with pytest.raises(UserError) as caught:
        converted(packed(saved(network("bert"), tmp_path / "model"), tmp_path / "m.zip"), manifest)
    assert caught.value.code == "unsupported_config"
    assert "`inputs.review`" in caught.value.message


def test_texts_that_lose_their_beginning_elsewhere_are_warned_of(tmp_path: Path) -> None:
    folder = saved(network("bert"), tmp_path / "model")
    with_setting(truncation_side="left")(folder)
    assert [note["code"] for note in converted(packed(folder, tmp_path / "m.zip")).notes] == ["texts_lose_their_end"]


HEADS = {"label": "SequenceClassification", "tokens": "TokenClassification", "mean": "", "first": ""}


def padded(ids: list[list[int]], padding: int, *, before: bool) -> tuple[Tensor, Tensor]:
    """(ids, mask) [N, 10]."""
    filling = [[padding] * (10 - len(row)) for row in ids]
    full = torch.tensor([fill + row if before else row + fill for row, fill in zip(ids, filling, strict=True)])
    return full, (full != padding).long()


@pytest.mark.parametrize("name", sample(sorted(CONFIGS), ["bert", "gpt2", "llama", "modernbert", "roberta"]))
@pytest.mark.parametrize("made_of", HEADS)
def test_the_types_that_answer_alike_with_padding_before_a_text_are_known(name: str, made_of: str) -> None:
    """As transformers answers for both, by the mask alone."""
    transformers = package("transformers")
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[name].from_dict({**CONFIGS[name], "num_labels": 3})
    made = getattr(transformers, f"AutoModel{'For' * bool(HEADS[made_of])}{HEADS[made_of]}").from_config(config).eval()
    answers = []
    for before in (False, True):
        ids, mask = padded([[5, 9, 7], [12, 8, 6, 11, 10, 4]], config.pad_token_id, before=before)
        with torch.no_grad():
            for each in made.parameters():
                each.add_(torch.randn_like(each), alpha=0.0 if before else 0.1)
            out = made(input_ids=ids, attention_mask=mask)
        places = out.logits if made_of in ("label", "tokens") else out.last_hidden_state
        if made_of == "tokens":
            places = places[mask.bool()]
        elif made_of == "mean":
            places = (places * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        answers.append(places[:, 0] if made_of == "first" else places)
    difference = float((answers[0] - answers[1]).abs().max())
    assert not 1e-5 < difference < 1e-3, difference
    reads_first = made_of == "first" or (made_of == "label" and classifies_by_first(name, CONFIGS[name]))
    assert is_alike_padded_before(name, reads_first=reads_first) == (difference < 1e-5)


@pytest.mark.parametrize(("name", "codes"), [("gpt2", ["texts_padded_behind"]), ("llama", [])])
def test_padding_before_a_text_is_told_where_it_changes_answers(name: str, codes: list[str], tmp_path: Path) -> None:
    """As tokenizer_config.json says it, or tokenizer.json where that does not."""
    folder = saved(network(name), tmp_path / "model")
    with_setting(padding_side="left")(folder)
    assert [note["code"] for note in converted(packed(folder, tmp_path / "m.zip")).notes] == codes
    document = json.loads((folder / "tokenizer_config.json").read_text())
    del document["padding_side"]
    (folder / "tokenizer_config.json").write_text(json.dumps(document))
    words = tokenizer()
    words.enable_padding(direction="left")
    words.save(str(folder / "tokenizer.json"))
    assert package("transformers").PreTrainedTokenizerFast.from_pretrained(folder).padding_side == "left"
    assert [note["code"] for note in converted(packed(folder, tmp_path / "n.zip")).notes] == codes


def test_a_tokenizer_of_bytes_whose_spaces_disagree_is_refused(tmp_path: Path) -> None:
    words = tokenizer()
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    folder = saved(network("bert"), tmp_path / "model", words)
    with_setting(add_prefix_space=True)(folder)
    found = inspected(packed(folder, tmp_path / "m.zip")).rejection
    assert found is not None
    assert "`add_prefix_space`" in found.message
