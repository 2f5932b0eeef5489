// @ts-check
// The list of datasets.
import { el } from "../lib/dom.js";
import { count, counted } from "../lib/format.js";
import { pageHead } from "../parts/bits.js";
import { kindsOf, showUploads } from "../parts/uploads.js";

export const title = "Datasets";
const FORMATS = ["npz", "parquet", "csv", "jsonl", "images", "sounds", "predictions"];

/** @param {import("../lib/router.js").Place} place */
export function show(place) {
  place.main.append(pageHead("Datasets"));
  showUploads("dataset", place, {
    columns: [
      { head: "Format", class: "wide narrow", key: (dataset) => dataset.format, cell: (dataset) => dataset.format },
      { head: "Rows", class: "number", key: (dataset) => dataset.rows, cell: (dataset) => count(dataset.rows) },
      {
        head: "Splits",
        class: "wide",
        key: (dataset) => dataset.splits,
        cell: (dataset) =>
          Object.entries(dataset.splits)
            .map(([name, rows]) => `${name} ${count(/** @type {number} */ (rows))}`)
            .join(", "),
      },
      { head: "Inputs", class: "wide", key: (dataset) => dataset.inputs, cell: (dataset) => kindsOf(dataset.inputs) },
      { head: "Targets", class: "wide", key: (dataset) => dataset.targets, cell: (dataset) => kindsOf(dataset.targets) },
      {
        head: "Warnings",
        class: "narrow",
        key: (dataset) => dataset.warnings.length,
        cell: (dataset) => (dataset.warnings.length ? counted(dataset.warnings.length, "warning") : ""),
      },
    ],
    formats: FORMATS,
    empty: [
      "There are no datasets yet. A dataset is uploaded by ",
      el("code", null, "POST /v1/datasets"),
      "; the README shows how.",
    ],
  });
}
