"""Which layers and parameters the names of `training.frozen` mean."""

from collections.abc import Iterable

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.training import Frozen, FrozenUntil

_HEADS = "heads"


def selects(entry: str, name: str, outputs: Iterable[str]) -> bool:
    """Whether an entry of a list means the layer or parameter `name`: it is its name, or what stands before a dot.

    A head is one layer whatever dots its output's name has: `heads.size` does not mean `heads.size.cm`.
    """
    heads = [f"{_HEADS}.{output}" for output in outputs]
    own = [head for head in heads if name == head or name.startswith(f"{head}.")]
    if own:
        return entry in (_HEADS, max(own, key=len), name)
    return name == entry or name.startswith(f"{entry}.")


def frozen_of_single_task(frozen: Frozen | None, architecture: Architecture, task: str) -> Frozen | None:
    """What is frozen in the network of one task with the trunk of `architecture`, whose head has another name where
    `architecture` has several; heads of other tasks are left out.
    """
    outputs = dict(architecture.outputs or {})
    if frozen is None or len(outputs) == 1:
        return frozen
    head = architecture.trunk().head_name
    if isinstance(frozen, FrozenUntil):
        before_heads = any(selects(_HEADS, frozen.until, [output]) for output in outputs)
        return FrozenUntil(until=head) if before_heads else frozen
    renamed = []
    for entry in frozen:
        of = [output for output in outputs if entry == _HEADS or selects(f"{_HEADS}.{output}", entry, outputs)]
        if not of:
            renamed.append(entry)
        elif task in of:
            renamed.append(head + entry.removeprefix(f"{_HEADS}.{task}").removeprefix(_HEADS))
    return tuple(renamed) or None
