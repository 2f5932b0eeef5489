"""Networks that a library builds, with our heads."""

from collections.abc import Mapping
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from app.contracts.problems import UserError
from app.contracts.specs.families.library import HuggingFace, LibraryArchitecture
from workers.engine.common.seeds import derived_seed
from workers.engine.models.families.family import SingleTrunkNetwork
from workers.engine.models.families.library.packages import package_version
from workers.engine.models.families.library.tokens import is_token
from workers.engine.models.families.library.trunks import LibraryTrunk, build_trunk, embedding_of, features_of

_TRUNK = "trunk."


def is_constant(name: str, value: Tensor) -> bool:
    """Whether a tensor of a network's state is one of whole numbers that it computes from its architecture."""
    return not value.is_floating_point() and not name.endswith("num_batches_tracked")


class LibraryNetwork(SingleTrunkNetwork):
    """A trunk of a library, and the heads. Names: see `LibraryFamily`."""

    def __init__(self, architecture: LibraryArchitecture) -> None:
        """Raises UserError `library_missing`, `unknown_network`, `network_misfit`, and `library_changed` where the
        library builds another network than the one that was measured.
        """
        super().__init__(architecture)
        if architecture.measured is None:
            raise ValueError(f"`{architecture.name}` is not measured")
        self._architecture = architecture
        self._of_tokens = isinstance(architecture, HuggingFace) and architecture.answers == "tokens"
        built = build_trunk(architecture, self.input_shape)
        _check_unchanged(built, architecture)
        self._classifier = built.classifier
        self._padding = built.padding
        self.trunk = built.module
        self._embedding = embedding_of(architecture)
        self.add_heads(architecture.measured.features)
        for head in self.fixed_heads():
            nn.init.eye_(head.weight)
            nn.init.zeros_(head.bias)
            head.requires_grad_(False)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As `Network`. Raises UserError `unexpected_parameters` for numbers that the network computes otherwise."""
        for name, own in self.state_dict().items():
            if not is_constant(name, own) or name not in state_dict or own.is_meta:
                continue
            if not torch.equal(own.long().cpu(), state_dict[name].long().cpu()):
                raise UserError(
                    "unexpected_parameters",
                    f"`{name}` has other numbers than the network computes: save the weights of the same network again",
                )
        return super().load_state_dict(state_dict, strict, assign)

    @property
    def draws_noise(self) -> bool:
        return True  # dropout, and paths and blocks that are left out: the libraries have many modules for it

    def in_shape(self, x: Tensor) -> Tensor:
        match self._architecture.reads:
            case "numbers":
                return super().in_shape(x)
            case "tokens":
                return x.flatten(1)
            case _:
                assert_never(self._architecture.reads)

    def is_token(self, x: Tensor) -> Tensor | None:
        padding = self._padding
        return None if padding is None else is_token(self.in_shape(x).long(), padding)

    def features(self, x: Tensor) -> Tensor:
        found = features_of(self.trunk, x, self._architecture)
        return found if self._of_tokens else found.flatten(1)

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        if self._embedding is None:
            return super().outputs(x)
        features: Tensor = self.penultimate(self.features(x))
        fixed = self.fixed_heads()
        heads = {name: self.head(name) for name in self.output_sizes}
        vectors = {name: features if head in fixed else head(features) for name, head in heads.items()}
        return {name: normalize(each, dim=1) if self._embedding.normalize else each for name, each in vectors.items()}

    def fixed_heads(self) -> list[nn.Linear]:
        """The heads of an encoder whose output is as wide as its pooled vector, and is that vector: they are the
        identity, are not trained, and are not computed.
        """
        if self._embedding is None:
            return []
        return [self.head(name) for name, size in self.output_sizes.items() if size == self.feature_size]

    def initialise_trunk(self, seed: int) -> None:
        """Draw the trunk's weights as the library does, as a function of the seed. In place."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "trunk"))
            drawn = build_trunk(self._architecture, self.input_shape).module
        self.trunk.load_state_dict(drawn.state_dict())

    def file_name(self, name: str) -> str:
        if name.startswith(_TRUNK):
            return name.removeprefix(_TRUNK)
        if len(self.output_sizes) == 1 and self._classifier is not None:
            return name.replace("layers.0", self._classifier, 1)
        return name


def _check_unchanged(built: LibraryTrunk, architecture: LibraryArchitecture) -> None:
    assert architecture.measured is not None
    measured, library = architecture.measured, package_version(architecture.family)
    parameters = sum(parameter.numel() for parameter in built.module.parameters())
    if (parameters, built.classifier) != (measured.parameters, measured.classifier):
        raise UserError(
            "library_changed",
            f"`{architecture.name}` has {parameters} parameters in {library}, expected {measured.parameters} as in "
            f"{measured.library}, by which it was measured: install that version on this worker",
        )
