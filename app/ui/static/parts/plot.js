// @ts-check
// Live charts by uPlot, which is fetched where a page plots.
import { colour, el, fill, say, svg } from "../lib/dom.js";
import { count, figure } from "../lib/format.js";
import { plainTable } from "./bits.js";
import { joined, looks } from "./lines.js";

/** @typedef {import("../lib/series.js").Group} Group */
/** @typedef {import("../lib/series.js").Line} Line */

const FOLDER = "../vendor/uplot-1.6.32/";
const HEIGHT = 240;
const MOST_VISIBLE = 8;
/** Most lines with which those of baselines and further seeds are shown without being asked for. */
const MOST_SHOWN = 6;
const REDRAW = 500;
const DASHED = [5, 4];
const FAINT = 0.45;

/** @type {Promise<any> | null} */
let library = null;

/** @returns {Promise<any>} uPlot, with its style. */
function uplot() {
  if (!library) {
    document.head.append(
      el("link", { rel: "stylesheet", href: new URL(`${FOLDER}uPlot.min.css`, import.meta.url).href }),
    );
    library = import("../vendor/uplot-1.6.32/uPlot.esm.js").then((found) => found.default);
  }
  return library;
}

/** One chart: the lines of a group by step, a legend that shows and hides them, and their values as a table. */
export class Chart {
  /** @param {string} title @param {AbortSignal} signal */
  constructor(title, signal) {
    this.signal = signal;
    this.isLog = false;
    /** @type {Group | null} */
    this.group = null;
    /** @type {Map<string, boolean>} */
    this.visible = new Map();
    this.plot = /** @type {any} */ (null);
    this.drawnAs = "";
    this.lastDrawn = 0;
    this.timer = 0;
    this.legendKey = "";
    this.unit = el("small");
    this.canvas = el("div", { class: "canvas", role: "img", "aria-label": title });
    this.legend = el("ul", { class: "legend" });
    this.table = el("div");
    const log = el("input", { type: "checkbox" });
    log.addEventListener("change", () => {
      this.isLog = log.checked;
      this._draw();
    });
    const details = el("details", null, el("summary", null, "Values as a table"), this.table);
    details.addEventListener("toggle", () => this._fillTable());
    this.details = details;
    this.node = el(
      "figure",
      { class: "chart" },
      el(
        "figcaption",
        null,
        el("span", null, title, " ", this.unit),
        el("label", null, log, el("small", null, " logarithmic")),
      ),
      this.canvas,
      this.legend,
      details,
    );
    this.title = title;
    const observer = new ResizeObserver(() => this._resize());
    observer.observe(this.canvas);
    document.addEventListener("theme", () => this._restyle(), { signal });
    signal.addEventListener("abort", () => {
      observer.disconnect();
      clearTimeout(this.timer);
      this.plot?.destroy();
    });
  }

  /** @param {Group} group Shown now, or half a second after the last time. */
  update(group) {
    this.group = group;
    this._fillLegend();
    if (this.timer) return;
    const wait = Math.max(0, this.lastDrawn + REDRAW - performance.now());
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this._draw();
    }, wait);
  }

  _lines() {
    return (this.group?.lines ?? []).filter((line) => this.visible.get(line.name));
  }

  async _draw() {
    const uPlot = await uplot();
    if (this.signal.aborted || !this.group) return;
    this.lastDrawn = performance.now();
    const lines = this._lines();
    const data = joined(lines, this.isLog);
    const drawnAs = JSON.stringify([this.isLog, lines.map((line) => [line.name, line.label])]);
    if (this.plot && drawnAs === this.drawnAs) {
      this.plot.setData(data);
    } else {
      this.plot?.destroy();
      this.plot = new uPlot(this._options(lines), data, this.canvas);
      this.drawnAs = drawnAs;
    }
    this.canvas.setAttribute("aria-label", this._words());
    if (this.details.open) this._fillTable();
  }

  /** @param {Line[]} lines */
  _options(lines) {
    const soft = colour("--soft");
    const axis = {
      stroke: soft,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
      font: "12px system-ui, sans-serif",
    };
    const style = looks(this.group?.lines ?? []);
    const series = lines.map((line) => {
      const look = style.get(line.name);
      return {
        label: line.label,
        stroke: colour(look?.colour ?? "--c0", look?.isFaint ? FAINT : 1),
        width: 1.6,
        dash: look?.isDashed ? DASHED : undefined,
        spanGaps: true,
        points: { show: hasFew },
      };
    });
    return {
      width: Math.max(200, this.canvas.clientWidth),
      height: HEIGHT,
      series: [{ label: "step" }, ...series],
      legend: { show: false },
      scales: { x: { time: false }, y: { distr: this.isLog ? 3 : 1 } },
      axes: [
        {
          ...axis,
          values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map((each) => count(each)),
        },
        {
          ...axis,
          size: 62,
          values: (/** @type {any} */ _, /** @type {(number | null)[]} */ ticks) =>
            ticks.map((each) => (each === null ? "" : figure(Number(each.toPrecision(6))))),
        },
      ],
      cursor: { points: { size: 6 }, drag: { x: true, y: false } },
      hooks: { setCursor: [(/** @type {any} */ plot) => this._readAt(plot.cursor.idx)] },
    };
  }

  /** @param {number | null | undefined} place Show the values at the cursor, or the latest. */
  _readAt(place) {
    const lines = this._lines();
    lines.forEach((line, i) => {
      const output = this.legend.querySelector(`[data-name="${CSS.escape(line.name)}"] output`);
      const value =
        place === null || place === undefined ? line.points.at(-1)?.value : this.plot?.data[i + 1][place];
      if (output) say(output, value === null || value === undefined ? "" : figure(value));
    });
    say(
      this.unit,
      place === null || place === undefined ? "by step" : `at step ${count(this.plot?.data[0][place])}`,
    );
  }

  _resize() {
    const width = this.canvas.clientWidth;
    if (this.plot && width && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: HEIGHT });
  }

  _restyle() {
    this.drawnAs = "";
    this._draw();
  }

  _fillLegend() {
    const lines = this.group?.lines ?? [];
    const isCrowded = lines.length > MOST_SHOWN;
    lines.forEach((line, i) => {
      const isMain = ["student", "control"].includes(line.party);
      if (!this.visible.has(line.name)) this.visible.set(line.name, i < MOST_VISIBLE && (isMain || !isCrowded));
    });
    const key = JSON.stringify(lines.map((line) => [line.name, line.label]));
    if (key !== this.legendKey) {
      this.legendKey = key;
      const style = looks(lines);
      fill(this.legend, ...lines.map((line) => this._entry(line, /** @type {any} */ (style.get(line.name)))));
    }
    this._readAt(null);
  }

  /** @param {Line} line @param {import("./lines.js").Look} look */
  _entry(line, look) {
    const box = el("input", { type: "checkbox", checked: this.visible.get(line.name) });
    box.addEventListener("change", () => {
      this.visible.set(line.name, box.checked);
      this._draw();
    });
    const sample = svg(
      "svg",
      { viewBox: "0 0 18 8", "aria-hidden": "true" },
      svg("path", {
        d: "M0 4H18",
        fill: "none",
        stroke: `var(${look.colour})`,
        "stroke-width": 2.5,
        "stroke-opacity": look.isFaint ? FAINT : null,
        "stroke-dasharray": look.isDashed ? "5 3" : null,
      }),
    );
    return el(
      "li",
      { "data-name": line.name },
      el("label", { title: line.name }, box, sample, line.label, " ", el("output")),
    );
  }

  _words() {
    const values = this._lines()
      .slice(0, MOST_VISIBLE)
      .map((line) => `${line.label} ${figure(line.points.at(-1)?.value)}`);
    return `${this.title} by step. Latest: ${values.join("; ")}.`;
  }

  _fillTable() {
    if (!this.details.open) return;
    const rows = (this.group?.lines ?? []).map((line) => {
      const values = line.points.flatMap((point) => (point.value === null ? [] : [point.value]));
      const last = line.points.at(-1);
      return [
        line.label,
        count(last?.step),
        count(last?.epoch),
        figure(last?.value),
        values.length ? figure(Math.min(...values)) : "",
        values.length ? figure(Math.max(...values)) : "",
      ];
    });
    fill(
      this.table,
      plainTable(`${this.title}: latest values`, ["Line", "Step", "Epoch", "Latest", "Smallest", "Largest"], rows, {
        numbers: [1, 2, 3, 4, 5],
        isHidden: true,
      }),
    );
  }
}

/** @param {any} plot @param {number} i @returns {boolean} Whether a line has so few points that it is hardly one. */
function hasFew(plot, i) {
  return (
    plot.data[i].filter((/** @type {number | null | undefined} */ value) => value !== null && value !== undefined)
      .length < 3
  );
}
