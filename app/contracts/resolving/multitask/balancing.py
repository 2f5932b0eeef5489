"""Does the balancer take the tasks' weights, and what must be installed at the worker?"""

from app.contracts.base import members, method_of
from app.contracts.resolving.findings import Findings
from app.contracts.specs.balancing import Balancing
from app.contracts.specs.jobs import MultitaskJob


def check_balancing(spec: MultitaskJob, findings: Findings) -> None:
    """Refuse weights that a method cannot use; warn of those without effect, and of packages that the worker needs."""
    balancing, method = spec.balancing, spec.balancing.method
    weights = {task.weight for task in spec.tasks}
    if not balancing.takes_weights and len(weights) > 1:
        able = [method_of(each) for each in members(Balancing) if each.takes_weights]
        findings.problem(
            "/balancing/method",
            "weights_not_supported",
            f"`{method}` has no preference vector: give all tasks one weight, or balance by one of {', '.join(able)}",
        )
    elif not balancing.takes_weights and not balancing.uses_gradients and weights != {1.0}:
        findings.warn("weights_without_effect", f"`{method}` finds the tasks' weights by itself: equal ones do nothing")
    if balancing.needs_packages:
        findings.warn(
            "extra_needed",
            f"`{method}` needs {' and '.join(balancing.needs_packages)} at the worker, which the extra `gpl` installs; "
            "without them the job fails before its first step: a preflight shows whether they are installed",
        )
