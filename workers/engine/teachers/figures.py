"""What jobs report of a teacher besides its outputs: its figures on corrupted rows, its latency and costs.

They depend on the teacher, the dataset and the machine, and not on the student: the first job measures them, and later
ones read them from the worker's cache.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from app.contracts.base import digest_of
from app.contracts.wire.orders import SharedCache
from workers.engine.common.cache_folder import keep_newest
from workers.engine.common.files import mark_used, read_document, write_document

FOLDER: Final[SharedCache] = "figures"
"""The folder of the worker's cache."""
MAX_ENTRIES: Final = 1024
VERSION: Final = 2
"""Of what is measured and how it is stored: a change makes a new version, as older figures are not comparable."""
_log = logging.getLogger("stillhouse.worker")


class TeacherFigures:
    """A folder of JSON documents by the digest of the facts that they depend on. Other processes may remove entries at
    any time.
    """

    def __init__(self, cache: Path) -> None:
        """`cache`: the cache folder of an order."""
        self._folder = cache / FOLDER

    def measured(
        self,
        facts: Mapping[str, Any] | None,
        measure: Callable[[], Any],
        is_kept: Callable[[Any], bool] = lambda figures: True,
    ) -> Any:
        """The figures of these facts, JSON: from the cache, or by `measure`, whose result is then kept if `is_kept`
        says so. `facts`: everything that they depend on; None: they are measured and not kept.
        """
        if facts is None:
            return measure()
        path = self._folder / f"{digest_of(dict(facts))}.json"
        figures = read_document(path)
        if figures is not None:
            with suppress(OSError):  # removed by another process meanwhile
                mark_used(path)
            return figures
        figures = measure()
        if is_kept(figures):
            self._keep(path, figures)
        return figures

    def _keep(self, path: Path, figures: Any) -> None:
        try:
            write_document(path, figures)
            keep_newest(self._folder, MAX_ENTRIES)
        except OSError as error:
            _log.warning("the figures of a teacher could not be stored in %s: %s", self._folder, error)
