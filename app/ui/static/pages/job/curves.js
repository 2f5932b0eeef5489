// @ts-check
// The charts of a job, kept up to date while it trains.
import { get } from "../../lib/api.js";
import { el } from "../../lib/dom.js";
import { poll } from "../../lib/live.js";
import { Feed, grouped, tableOverTime } from "../../lib/series.js";
import { section } from "../../parts/bits.js";
import { Heat } from "../../parts/heat.js";
import { Chart } from "../../parts/plot.js";

/** Updates of the series between two of the means over all measurements. */
const RELATION_TICKS = 10;
const HINT = "Row: the task that is helped; column: the one that helps.";

/** The curves and, of several tasks, their relation. */
export class Curves {
  /**
   * @param {string} id
   * @param {import("./timeline.js").Timeline} timeline
   * @param {AbortSignal} signal
   */
  constructor(id, timeline, signal) {
    this.id = id;
    this.timeline = timeline;
    this.signal = signal;
    this.feed = new Feed(id);
    /** @type {Map<string, Chart>} */
    this.charts = new Map();
    this.grid = el("div", { class: "charts" });
    this.curves = section("Training", this.grid);
    this.heat = new Heat();
    this.relation = section("Relation of the tasks", this.heat.node);
    this.curves.hidden = true;
    this.relation.hidden = true;
    this.node = el("div", { id: "training" }, this.curves, this.relation);
    this.isMultitask = false;
    /** @type {any} */
    this.tables = null;
  }

  /** Titles of the sections of a report that these charts stand for. */
  get titles() {
    return [this.curves, this.relation]
      .filter((each) => !each.hidden)
      .map((each) => each.querySelector("h2")?.textContent ?? "");
  }

  get isShown() {
    return !this.curves.hidden;
  }

  /** @param {any} job @param {() => boolean} isOver */
  begin(job, isOver) {
    this.isMultitask = job.kind === "multitask";
    poll(
      async (within) => {
        if (isOver()) return false;
        await this._update(within, false);
        return undefined;
      },
      { signal: this.signal, onError: () => {} },
    );
  }

  /** Draw what events have brought: the speed. */
  nudge() {
    if (this.timeline.speeds.length < 2) return;
    const chart = this.charts.get("speed");
    if (chart) chart.update(this._speed());
    else this._draw();
  }

  /** @returns {import("../../lib/series.js").Group} */
  _speed() {
    const lines = [{ name: "speed", party: "student", own: "", label: "rows/s", points: this.timeline.speeds }];
    return { key: "speed", title: "Training speed, rows per second", rank: 9, lines };
  }

  /** @param {AbortSignal} within Everything once more, after the end. */
  async finish(within) {
    await this._update(within, true);
  }

  /** @param {AbortSignal} within @param {boolean} all */
  async _update(within, all) {
    const isNew = await this.feed.update(within, { all });
    const isDue = all || !this.tables || (isNew && this.feed.ticks % RELATION_TICKS === 0);
    if (this.isMultitask && isDue)
      this.tables = await get(`v1/jobs/${encodeURIComponent(this.id)}/relation`, {}, within);
    if (isNew || all) this._draw();
  }

  _draw() {
    const groups = grouped(this.feed.series);
    if (this.timeline.speeds.length > 1) groups.push(this._speed());
    this.curves.hidden = !groups.length;
    for (const group of groups) {
      let chart = this.charts.get(group.key);
      if (!chart) {
        chart = new Chart(group.title, this.signal);
        this.charts.set(group.key, chart);
        this.grid.append(chart.node);
      }
      chart.update(group);
    }
    groups.forEach((group, i) => {
      const node = /** @type {Chart} */ (this.charts.get(group.key)).node;
      if (this.grid.children[i] !== node) this.grid.insertBefore(node, this.grid.children[i] ?? null);
    });
    if (this.tables) this._drawRelation();
  }

  _drawRelation() {
    const { tasks, matrix, affinity, cosine, conflicts } = this.tables;
    if (tasks.length < 2) return;
    const { series } = this.feed;
    const overTime = (/** @type {string} */ kind, /** @type {string} */ last, /** @type {any} */ mean) => {
      const found = tableOverTime(series, tasks, kind, last);
      return found.steps.length ? found : { steps: [], at: () => (mean?.length ? mean : null) };
    };
    this.heat.update(tasks, [
      { title: "R", hint: HINT, ...overTime("relation", "", matrix) },
      {
        title: "Cosine of gradients",
        hint: "Below 0 two tasks pull in different directions.",
        ...overTime("gradient", "cosine", cosine),
      },
      { title: "Affinity", hint: HINT, ...overTime("affinity", "", affinity) },
      {
        title: "Share of conflicts",
        hint: "Share of the measurements with a negative cosine, over the whole training.",
        steps: [],
        at: () => (conflicts?.length ? conflicts : null),
      },
    ]);
    this.relation.hidden = false;
  }
}
