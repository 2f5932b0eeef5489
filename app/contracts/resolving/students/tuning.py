"""Do frozen layers, learning rates by layer and gradient checkpointing go with the network and the rest of the job?"""

from app.contracts.layouts.frozen import selects
from app.contracts.layouts.layer_table import LayerTable
from app.contracts.layouts.summary import layer_table
from app.contracts.problems import listed
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.students.measured import networks_of
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.families.starts import StandIn
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob
from app.contracts.specs.sharing import scheme_of
from app.contracts.specs.training import Frozen, FrozenUntil

_FROZEN = "/training/frozen"
_SHOWN = 20


def check_tuning(spec: AnyTrainingJob, findings: Findings) -> None:
    """Problems of a job whose network is described, or nothing where it is not yet."""
    network, training = spec.network, spec.training
    if isinstance(network, StandIn) or not network.is_described or findings.problems:
        return
    if training.gradient_checkpointing is not None:
        _check_checkpointing(spec, findings)
    if scheme_of(network.sharing) is not None:
        for name in ("frozen", "layer_decay"):
            if getattr(training, name) is not None:
                findings.problem(
                    f"/training/{name}",
                    "hard_sharing_needed",
                    f"`{name}` needs one trunk whose layers have one order, found a sharing scheme: leave it out, or "
                    "use `sharing: hard`",
                )
        return
    if training.frozen is not None:
        _check_frozen(spec, network, training.frozen, findings)


def _check_checkpointing(spec: AnyTrainingJob, findings: Findings) -> None:
    place = "/training/gradient_checkpointing"
    without = [each.family for each in networks_of(spec) if each.family == "mlp"]
    if without:
        findings.problem(
            place, "no_blocks", f"expected a network of blocks, found the family {listed(without)}: leave it out"
        )
    _refuse_quantization(spec, place, findings)


def _refuse_quantization(spec: AnyTrainingJob, place: str, findings: Findings) -> None:
    if spec.quantization is not None:
        findings.problem(
            place,
            "not_with_quantization",
            "quantization-aware training follows each forward pass of each layer in training mode: leave one of the "
            "two out",
        )


def _check_frozen(spec: AnyTrainingJob, network: Architecture, frozen: Frozen, findings: Findings) -> None:
    if isinstance(spec, DistillJob) and spec.mutual is not None:
        findings.problem(_FROZEN, "not_with_mutual", "peers are other networks with other layers: leave `frozen` out")
    _refuse_quantization(spec, _FROZEN, findings)
    table, outputs = layer_table(network), tuple(network.outputs or {})
    if isinstance(frozen, FrozenUntil):
        layers = [layer.name for layer in table.layers]
        _check_names((frozen.until,), layers, table, outputs, f"{_FROZEN}/until", findings)
    else:
        _check_names(frozen, _named(table), table, outputs, _FROZEN, findings)
        _check_remainder(frozen, network, table, findings)
    _warn_of_random_weights(spec, network, findings)


def _warn_of_random_weights(spec: AnyTrainingJob, network: Architecture, findings: Findings) -> None:
    if getattr(network, "pretrained", None) is not None:
        return
    starts = getattr(network, "init", None) is not None
    if starts and not getattr(spec, "control", False):
        return
    findings.warn(
        "frozen_at_random",
        f"the layers of `training.frozen` keep the random weights that {'the control' if starts else 'they'} begin"
        f"{'s' if starts else ''} with: start from a pretrained model, or freeze nothing",
    )


def _named(table: LayerTable) -> list[str]:
    """What a list may name: the parameters of our families, and the layers that were measured of a library's trunk."""
    return list(table.parameters) if table.measured is None else [layer.name for layer in table.layers]


def _check_names(
    entries: tuple[str, ...],
    known: list[str],
    table: LayerTable,
    outputs: tuple[str, ...],
    place: str,
    findings: Findings,
) -> None:
    """Each entry must be one of `known`, or stand before the dots of one. Inside the layers of a library's network the
    worker knows the names.
    """
    measured = table.measured is not None
    for entry in entries:
        inside = measured and any(entry.startswith(f"{name}.") for name in known)
        if not inside and not any(selects(entry, name, outputs) for name in known):
            way_out = ', or give `{"until": ...}` for all before a layer' if measured else ""
            layers = [layer.name for layer in table.layers if not measured or layer.kind != "features"]
            findings.problem(
                place,
                "unknown_layer",
                f"expected layers of the network, such as {listed(layers, most=_SHOWN)}, found `{entry}`: correct the "
                f"name{way_out}",
            )


def _check_remainder(frozen: tuple[str, ...], network: Architecture, table: LayerTable, findings: Findings) -> None:
    """A task whose head is frozen along with the whole trunk would have nothing to train."""
    outputs = dict(network.outputs or {})
    single = network.trunk().head_name
    heads = {output: single if len(outputs) == 1 else f"heads.{output}" for output in outputs}

    def is_frozen(name: str) -> bool:
        return any(selects(entry, name, outputs) for entry in frozen)

    trunk = [name for name in table.parameters if not any(name.startswith(f"{head}.") for head in heads.values())]
    trunk += [table.measured.name] if table.measured is not None else []
    still = [output for output, head in heads.items() if is_frozen(head)]
    if still and all(is_frozen(name) for name in trunk):
        findings.problem(
            _FROZEN,
            "nothing_trained",
            f"expected a trained layer on the way to each output, found none for {listed(still)}: leave its head out, "
            "or a layer of the trunk",
        )
