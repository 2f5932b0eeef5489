"""What a balancer cannot take, and what it needs where it runs."""

from app.contracts.resolving.findings import Findings
from app.contracts.specs.balancing import GPL, LOSS_METHODS, PREFERRING
from app.contracts.specs.jobs import MultitaskJob


def check_balancing(spec: MultitaskJob, findings: Findings) -> None:
    """Refuse weights for which a method has no use; warn of those that do nothing, and of what the worker needs."""
    method = spec.balancing.method
    weights = {task.weight for task in spec.tasks}
    if method not in PREFERRING and len(weights) > 1:
        findings.problem(
            "/balancing/method",
            "weights_not_supported",
            f"`{method}` has no preference vector: give all tasks one weight, or balance by one of "
            f"{', '.join(PREFERRING)}",
        )
    elif method in LOSS_METHODS and method not in PREFERRING and weights != {1.0}:
        findings.warn("weights_without_effect", f"`{method}` finds the tasks' weights by itself: equal ones do nothing")
    if method in GPL:
        findings.warn(
            "extra_needed",
            f"`{method}` needs {' and '.join(GPL[method])} at the worker, which the extra `gpl` installs; without "
            "them the job fails before its first step (a preflight tells)",
        )
