"""python -m tests.benchmarks.accuracy.defaults: what a user gets who names no setting of training.

For each data set the plain settings that were the defaults before the recipe (20 epochs at a rate of 0.001, batches of
64, raw inputs), the recipe, and the best of a grid at the recipe's steps. Results go to a file of cells as they come; a
further call continues. TABLE.md is written from it.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tests.benchmarks.accuracy.defaults import few_labels, tables
from tests.benchmarks.accuracy.defaults.campaign import Campaign
from tests.benchmarks.accuracy.defaults.cells import Cells
from tests.benchmarks.accuracy.defaults.grid import DECAYS, RATES, RECIPE
from tests.benchmarks.accuracy.defaults.run import measure
from tests.benchmarks.accuracy.defaults.sets.catalogue import MAKERS, UNSEEN
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet

TABLE = Path(__file__).parent / "TABLE.md"
CELLS = Path(".cache/accuracy-defaults.jsonl")
INTRODUCTION = """# What the defaults reach

`make accuracy-defaults` writes this file. Means over seeds (5; 10 of small data sets), each with its own random
split; the metric is that on the test rows.

- **plain**: the defaults before the recipe: 20 epochs, rate 0.001, batches of 64, no decay, raw inputs.
- **recipe**: every setting left out.
- **best of the grid**: rates {}; decays {}; where it matters other ways to
  standardise. The rest, and the steps, are the recipe's. The grid is screened on seeds of its own (2 to 4; of convnets
  and resnets 1, with fewer decays). Its best two candidates (of convnets and resnets one) then run on the
  seeds of the comparison, and the recipe is among those compared.
- **regret**: what the recipe loses to the best of the grid, in points, of rmse in percent, with the standard error of
  that difference over the seeds.
- Mlps and transformers of many seeds and settings train as one step (`stacked`), with the engine's settings, weights,
  batches and losses; the last column has a job of the engine beside the same seed of a stack.
"""
Makers = Mapping[str, Callable[[], DataSet]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*MAKERS, *few_labels.lessons()]
    parser.add_argument("--only", action="append", choices=names, help="measure only this; may be repeated")
    parser.add_argument("--seeds", type=int, help="at most so many seeds of each data set")
    parser.add_argument("--cells", type=Path, default=CELLS, help=f"the file of results ({CELLS})")
    parser.add_argument("--again", action="store_true", help="forget earlier results of what is measured")
    parser.add_argument("--unseen", action="store_true", help="also measure the data sets that no rule was chosen on")
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
    wanted = asked.only or [*MAKERS, *few_labels.lessons()]
    for name in [] if asked.table else [*wanted, *(UNSEEN if asked.unseen else ())]:
        if asked.again:
            campaign.cells.forget(name)
        _measure(campaign, name)
        TABLE.write_text(_table(campaign))
    TABLE.write_text(_table(campaign))
    print(TABLE)


def _measure(campaign: Campaign, name: str) -> None:
    lessons, makers = few_labels.lessons(), {**MAKERS, **UNSEEN}
    if name in lessons:
        campaign.run_lesson(name, lessons[name])
    else:
        campaign.run(name, makers[name]())


def _load_unseen() -> None:
    """That the data sets can be read and trained on, without a figure."""
    short = replace(RECIPE, training=(*RECIPE.training, ("steps", 10)))
    for name, make in UNSEEN.items():
        print(f"{name}: {measure(make(), short, 0).steps} steps")


def _table(campaign: Campaign) -> str:
    text = [
        INTRODUCTION.format(*(", ".join(f"{value:g}" for value in values) for values in (RATES, DECAYS))),
        *_section(campaign, "Data sets", MAKERS),
        *_section(campaign, "Unseen data sets, measured once after all rules were chosen", UNSEEN),
    ]
    few = tables.few_labels_lines(campaign)
    if few:
        text += ["## Few labels and a teacher", "", *few, ""]
    return "\n".join(text)


def _section(campaign: Campaign, title: str, makers: Makers) -> list[str]:
    lines = [found for name, make in makers.items() if (found := tables.line(campaign, name, make())) is not None]
    if not lines:
        return []
    body = [*tables.HEAD, *(each.text() for each in lines), "", tables.summary(lines)]
    return [f"## {title}", "", tables.provenance(lines), "", *body, ""]


if __name__ == "__main__":
    main()
