"""What a balancer cannot take, and what it needs where it runs."""

from app.contracts.balancing import GPL, PREFERRING
from app.contracts.jobs import MultitaskJob
from app.contracts.resolving.findings import Findings


def check_balancing(spec: MultitaskJob, findings: Findings) -> None:
    """Refuse weights for which a method has no use; warn of what must be installed at the worker."""
    method = spec.balancing.method
    if method not in PREFERRING and len({task.weight for task in spec.tasks}) > 1:
        findings.problem(
            "/balancing/method",
            "weights_not_supported",
            f"`{method}` has no preference vector: give all tasks one weight, or balance by one of "
            f"{', '.join(PREFERRING)}",
        )
    if method in GPL:
        findings.warn(
            "extra_needed",
            f"`{method}` needs {' and '.join(GPL[method])} at the worker, which the extra `gpl` installs; without "
            "them the job fails before its first step (a preflight tells)",
        )
