"""The optional parts of the package that are installed with this worker."""

from collections.abc import Mapping
from importlib.util import find_spec

from app.contracts.specs.families.family import Extra

PACKAGES: Mapping[Extra, tuple[str, ...]] = {
    "vision": ("timm", "torchvision", "transformers"),
    "text": ("transformers",),
}
"""What each extra installs."""
PRELOADED: Mapping[Extra, str] = {
    "vision": "workers.engine.models.families.library.preloaded",
    "text": "workers.engine.models.families.library.preloaded_texts",
}
"""The module that a fork server for jobs with this extra imports: importing the packages takes seconds. The first whose
extra a job needs starts its child: it has what the later ones have.
"""


def installed_extras() -> frozenset[Extra]:
    """The extras whose packages can all be imported; they are not imported here."""
    return frozenset(extra for extra, names in PACKAGES.items() if all(find_spec(name) for name in names))
