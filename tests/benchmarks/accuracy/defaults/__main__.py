"""python -m tests.benchmarks.accuracy.defaults: what a user gets who names no setting of training.

For each data set the plain settings that were the defaults before the recipe (20 epochs at a rate of 0.001, batches of
64, raw inputs), the recipe, and the best of a grid at the recipe's steps. Results go to a file of cells as they come; a
further call continues. TABLE.md is written from it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from tests.benchmarks.accuracy.defaults import few_labels
from tests.benchmarks.accuracy.defaults.campaign import Campaign
from tests.benchmarks.accuracy.defaults.cells import Cells
from tests.benchmarks.accuracy.defaults.document import document
from tests.benchmarks.accuracy.defaults.grid import RECIPE
from tests.benchmarks.accuracy.defaults.run import measure
from tests.benchmarks.accuracy.defaults.sets.catalogue import MAKERS, UNSEEN

TABLE = Path(__file__).parent / "TABLE.md"
CELLS = Path(".cache/accuracy-defaults.jsonl")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*MAKERS, *few_labels.cases()]
    parser.add_argument("--only", action="append", choices=names, help="measure only this; may be repeated")
    parser.add_argument("--seeds", type=int, help="at most so many seeds of each data set")
    parser.add_argument("--cells", type=Path, default=CELLS, help=f"the file of results ({CELLS})")
    parser.add_argument("--again", action="store_true", help="forget earlier results of what is measured")
    parser.add_argument("--unseen", action="store_true", help="measure the data sets that no rule was chosen on")
    parser.add_argument("--load-unseen", action="store_true", help="only train 10 steps on each unseen data set")
    parser.add_argument("--table", action="store_true", help="only write the table")
    return parser.parse_args()


def main() -> None:
    """Measure what is missing, and write the table."""
    asked = _options()
    if asked.load_unseen:
        _load_unseen()
        return
    torch.set_num_threads(1)
    campaign = Campaign(Cells(asked.cells), asked.seeds, lambda text: print(text, flush=True))
    seen = asked.only or ([] if asked.unseen or asked.table else [*MAKERS, *few_labels.cases()])
    for name in [*seen, *(UNSEEN if asked.unseen else ())]:
        if asked.again:
            campaign.cells.forget(name)
        _measure(campaign, name)
        _write(campaign)
    _write(campaign)
    print(TABLE)


def _write(campaign: Campaign) -> None:
    TABLE.write_text(document(campaign, TABLE.read_text() if TABLE.exists() else ""))


def _measure(campaign: Campaign, name: str) -> None:
    few, makers = few_labels.cases(), {**MAKERS, **UNSEEN}
    if name in few:
        campaign.run_few_labels(name, few[name])
    else:
        campaign.run(name, makers[name]())


def _load_unseen() -> None:
    """That the data sets can be read and trained on, without a figure."""
    short = replace(RECIPE, training=(*RECIPE.training, ("steps", 10)))
    for name, make in UNSEEN.items():
        print(f"{name}: {measure(make(), short, 0).steps} steps")


if __name__ == "__main__":
    main()
