"""Whether students whose weights wait for the controls train beside them, before the weights are known."""

from collections.abc import Sequence

from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner


def trains_beside_controls(runner: Runner, runs: Sequence[Run], controls: Sequence[Run]) -> bool:
    """Whether student and control of the first seeds train at once, on a processor each, so that a student costs no
    more beside its control than after it, and only that of a weak teacher has to be trained again.

    Not where one step trains all seeds, nor where the cache has a control of them. Both trainings of a student record
    their points at the same steps, the second over the first, which early stopping would end apart.
    """
    main = runs[0]
    if main.training.early_stopping is not None or not runner.trains_at_once(main):
        return False
    if any(runner.cached_control(control) is not None for control in controls):
        return False
    is_auto = main.run_spec.most_repeats > main.run_spec.repeats
    return not is_auto or runner.population(controls) is None
