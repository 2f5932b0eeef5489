// @ts-check
// Square tables of tasks as heat maps, over time where there is a history.
import { el, fill, say, svg } from "../lib/dom.js";
import { count, DASH } from "../lib/format.js";
import { plainTable } from "./bits.js";

/** @typedef {(number | null)[][]} Matrix */
/** @typedef {{ title: string, hint: string, steps: number[], at: (step: number) => Matrix | null }} Table */

const CELL = 46;
const NAMES = 92;
const TOP = 22;

/**
 * One heat map: blue is positive, red negative, the stronger the farther from 0.
 * @param {string} title
 * @param {string[]} tasks
 * @param {Matrix} matrix
 * @returns {SVGElement}
 */
function heatMap(title, tasks, matrix) {
  const largest = Math.max(...matrix.flat().map((value) => Math.abs(value ?? 0))) || 1;
  const side = tasks.length * CELL;
  const cells = matrix.flatMap((row, i) =>
    row.flatMap((value, j) => cell(NAMES + j * CELL, TOP + i * CELL, value, largest, `${tasks[j]} on ${tasks[i]}`)),
  );
  return svg(
    "svg",
    {
      class: "drawing",
      role: "img",
      "aria-label": title,
      viewBox: `0 0 ${NAMES + side} ${TOP + side}`,
      style: { "max-width": `${NAMES + side}px` },
    },
    ...tasks.map((task, i) =>
      svg("text", { x: NAMES - 6, y: TOP + i * CELL + CELL / 2 + 4, "text-anchor": "end" }, task.slice(0, 14)),
    ),
    ...tasks.map((task, j) =>
      svg("text", { x: NAMES + j * CELL + CELL / 2, y: 14, "text-anchor": "middle" }, task.slice(0, 7)),
    ),
    ...cells,
  );
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number | null} value
 * @param {number} largest
 * @param {string} hint
 */
function cell(x, y, value, largest, hint) {
  const known = value !== null && Number.isFinite(value);
  const fillWith = known ? (value >= 0 ? "var(--c0)" : "var(--bad)") : "var(--band)";
  const strength = known ? 0.06 + (0.54 * Math.abs(value)) / largest : 1;
  return [
    svg(
      "rect",
      { x, y, width: CELL - 2, height: CELL - 2, rx: 3, fill: fillWith, "fill-opacity": strength.toFixed(2) },
      svg("title", null, hint),
    ),
    svg(
      "text",
      { x: x + CELL / 2 - 1, y: y + CELL / 2 + 3, "text-anchor": "middle" },
      known ? shortNumber(value) : "",
    ),
  ];
}

/** @param {number | null} value @returns {string} */
function shortNumber(value) {
  return value === null ? DASH : String(Number(value.toFixed(2))).replace("-", "−");
}

/** Heat maps of the relation of tasks, with one slider over the steps that were recorded. */
export class Heat {
  constructor() {
    this.slider = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step" });
    this.words = el("span", { class: "soft" });
    this.maps = el("div", { class: "heat-maps" });
    this.values = el("details", null, el("summary", null, "Values as tables"));
    this.body = el("div");
    this.values.append(this.body);
    this.sliding = el("div", { class: "slider" }, this.slider, this.words);
    this.node = el("div", { class: "heat" }, this.sliding, this.maps, this.values);
    this.isLast = true;
    /** @type {string[]} */
    this.tasks = [];
    /** @type {Table[]} */
    this.tables = [];
    /** @type {number[]} */
    this.steps = [];
    this.slider.addEventListener("input", () => {
      this.isLast = Number(this.slider.value) === this.steps.length - 1;
      this._draw();
    });
    this.values.addEventListener("toggle", () => this._draw());
  }

  /** @param {string[]} tasks @param {Table[]} tables */
  update(tasks, tables) {
    this.tasks = tasks;
    this.tables = tables;
    this.steps = [...new Set(tables.flatMap((table) => table.steps))].sort((a, b) => a - b);
    this.slider.max = String(Math.max(0, this.steps.length - 1));
    if (this.isLast) this.slider.value = this.slider.max;
    this.sliding.hidden = this.steps.length < 2;
    this._draw();
  }

  _draw() {
    const step = this.steps[Number(this.slider.value)] ?? Infinity;
    const known = Number.isFinite(step) ? `step ${count(step)}` : "";
    say(this.words, known);
    this.slider.setAttribute("aria-valuetext", known);
    const found = this.tables.flatMap((table) => {
      const matrix = table.at(step);
      return matrix?.flat().some((value) => value !== null) ? [{ ...table, matrix }] : [];
    });
    fill(
      this.maps,
      ...found.map(({ title, hint, matrix }) =>
        el(
          "figure",
          { class: "chart" },
          el("figcaption", null, title),
          heatMap(`${title}, ${known}`, this.tasks, matrix),
          el("small", null, hint),
        ),
      ),
    );
    if (this.values.open) {
      fill(
        this.body,
        ...found.map(({ title, matrix }) =>
          plainTable(
            title,
            ["Helped task", ...this.tasks],
            matrix.map((row, i) => [this.tasks[i], ...row.map((value) => shortNumber(value))]),
            { numbers: this.tasks.map((_, i) => i + 1) },
          ),
        ),
      );
    }
  }
}
