// @ts-check
// Rows of a dataset, drawn or written, as a preview has them.
import { el, svg } from "../lib/dom.js";
import { figure } from "../lib/format.js";

/** @typedef {any} PreviewRow */

const MOST_VALUES = 24;
const MOST_TEXT = 600;

/** @param {any} value @param {string} name @returns {HTMLElement} One input of a row. */
function inputOf(value, name) {
  if (value.image) return el("img", { src: value.image, alt: `${name}, an image`, loading: "lazy" });
  if (value.text !== undefined) return el("p", null, textOf(value.text));
  if (value.sound) return soundOf(value.sound, name);
  return valuesOf(value, name);
}

/** @param {{ seconds: number, envelope: number[] }} sound @param {string} name A sound as a line of its loudness. */
function soundOf({ seconds, envelope }, name) {
  const lines = envelope.map((each, i) => `M${i + 0.5} ${24 - 23 * each}V${24 + 23 * each}`);
  const label = `${name}, a sound of ${figure(seconds)} s`;
  return el(
    "div",
    { class: "sound" },
    svg("svg", { viewBox: `0 0 ${envelope.length} 48`, role: "img", "aria-label": label }, svg("path", { d: lines.join("") })),
    el("small", { class: "soft" }, `${figure(seconds)} s`),
  );
}

/** @param {string} text */
function textOf(text) {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)} …` : text;
}

/** @param {any} value @param {string} name @returns {HTMLElement} */
function valuesOf({ values, columns, shape }, name) {
  const flat = [values].flat(8);
  const written = (/** @type {any} */ each) =>
    typeof each === "number" ? figure(each) : each === null ? "missing" : String(each);
  if (columns && columns.length === flat.length) {
    return el(
      "p",
      null,
      ...flat
        .slice(0, MOST_VALUES)
        .flatMap((each, i) => [el("small", { class: "soft" }, `${columns[i]} `), written(each), " "]),
      flat.length > MOST_VALUES ? "…" : null,
    );
  }
  const of = shape?.length ? ` of ${shape.join(" × ")}` : "";
  return el(
    "p",
    { title: `${name}${of}` },
    flat.slice(0, MOST_VALUES).map(written).join(", "),
    flat.length > MOST_VALUES ? ` … (${flat.length} numbers${of})` : "",
  );
}

/** @param {any} label @returns {string} */
function labelOf(label) {
  if (label === null || label === undefined) return "no label";
  if (Array.isArray(label)) return label.slice(0, 8).map(labelOf).join(", ") + (label.length > 8 ? " …" : "");
  return typeof label === "number" ? figure(label) : String(label);
}

/**
 * Rows as a list.
 * @param {PreviewRow[]} rows
 * @param {(row: PreviewRow, item: HTMLElement) => import("../lib/dom.js").Child} [more]
 * @returns {HTMLElement}
 */
export function rowList(rows, more) {
  const isWordy = rows.some((row) => Object.values(row.inputs).some((each) => !(/** @type {any} */ (each).image)));
  return el(
    "ul",
    { class: isWordy ? "rows wordy" : "rows" },
    ...rows.map((row) => {
      const names = Object.keys(row.inputs);
      const targets = Object.entries(row.targets ?? {});
      const item = el(
        "li",
        null,
        ...names.flatMap((name) => [
          names.length > 1 ? el("small", { class: "soft" }, name) : null,
          inputOf(row.inputs[name], name),
        ]),
        el(
          "div",
          null,
          ...targets.flatMap(([name, label]) => [
            el("small", { class: "soft" }, `${name} `),
            el("span", null, labelOf(label)),
            " ",
          ]),
        ),
        el("small", { class: "soft" }, `row ${row.row}, ${row.split}`),
      );
      const extra = more?.(row, item);
      if (extra) item.append(/** @type {Node} */ (extra));
      return item;
    }),
  );
}
