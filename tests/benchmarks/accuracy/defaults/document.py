"""The file TABLE.md as a whole."""

from collections.abc import Callable, Mapping

from tests.benchmarks.accuracy.defaults import tables
from tests.benchmarks.accuracy.defaults.campaign import Campaign
from tests.benchmarks.accuracy.defaults.grid import DECAYS, RATES
from tests.benchmarks.accuracy.defaults.sets.catalogue import MAKERS, UNSEEN
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet
from tests.benchmarks.accuracy.tables import sections

INTRODUCTION = """# What the defaults reach

`make accuracy-defaults` writes this file. Means over seeds (5; 10 where test rows are few), each with its own random
split; the metric is that by which epochs are selected, on the test rows. (Labels are selected by accuracy: the macro F1
of such a student of yeast is 34.4, the best of the grid has 37.6, and 42.0 where the spec selects by it.)

- **plain**: the defaults before the recipe: 20 epochs, rate 0.001, batches of 64, no decay, raw inputs.
- **recipe**: every setting left out.
- **best of the grid**: rates {}; decays {}; where it matters other ways to
  standardise. The rest, and the steps, are the recipe's. The grid is screened on seeds of its own (2 to 4; of convnets
  and resnets 1, with fewer decays). Its best candidates (2 or 3; of convnets and resnets 1) then run on the
  seeds of the comparison, and the recipe is among those compared.
- **regret**: what the recipe loses to the best of the grid, in points, of rmse in percent, with the standard error of
  that difference over the seeds.
- Mlps and transformers of many seeds and settings train as one step (`stacked`), with the engine's settings, weights,
  batches and losses; the last column has a job of the engine beside the same seed of a stack.
"""
SEEN = "Data sets"
UNUSED = "Unseen data sets, measured once after all rules were chosen"
FEW = "Few labels and a teacher"


def document(campaign: Campaign, earlier: str = "") -> str:
    """The file's text from the cells of a campaign; `earlier` is the text that it replaces.

    A section of fewer lines than the earlier one is not taken over, so that a call for a few data sets, with a new file
    of cells, loses nothing.
    """
    found = {
        SEEN: _section(campaign, MAKERS),
        UNUSED: _section(campaign, UNSEEN),
        FEW: "\n".join(tables.few_labels_lines(campaign)),
    }
    kept = sections(earlier)
    chosen = {title: max(text, kept.get(title, ""), key=_lines) for title, text in found.items()}
    head = INTRODUCTION.format(*(", ".join(f"{value:g}" for value in values) for values in (RATES, DECAYS)))
    return "\n".join([head, *(f"## {title}\n\n{text}\n" for title, text in chosen.items() if text)])


def _lines(text: str) -> int:
    return sum(line.startswith("|") for line in text.splitlines())


def _section(campaign: Campaign, makers: Mapping[str, Callable[[], DataSet]]) -> str:
    begun = {name: make for name, make in makers.items() if campaign.cells.has(name)}
    lines = [found for name, make in begun.items() if (found := tables.line(campaign, name, make())) is not None]
    if not lines:
        return ""
    body = [*tables.HEAD, *(each.text() for each in lines), "", tables.summary(lines)]
    return "\n".join([tables.provenance(lines), "", *body])
