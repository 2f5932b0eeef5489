// @ts-check
// The list of datasets.
import { el } from "../lib/dom.js";
import { count, counted, shortId, timeOf } from "../lib/format.js";
import { keep } from "../lib/names.js";
import { href } from "../lib/router.js";
import { STATES } from "../lib/wording.js";
import { pageHead, stateBadge } from "../parts/bits.js";
import { showListing, stateTeller } from "../parts/listing.js";

export const title = "Datasets";
const FORMATS = ["npz", "parquet", "csv", "jsonl", "images", "sounds", "predictions"];

/** @param {import("../lib/router.js").Place} place */
export function show({ main, query, signal }) {
  const tell = stateTeller("Dataset");
  main.append(pageHead("Datasets"));
  showListing(
    main,
    {
      path: "v1/datasets",
      caption: "Datasets, newest first",
      noun: "dataset",
      columns: [
        {
          head: "State",
          class: "narrow",
          key: (dataset) => dataset.state,
          cell: (dataset) => stateBadge(dataset.state),
        },
        {
          head: "Name",
          isName: true,
          key: (dataset) => [dataset.name, dataset.rejection],
          cell: (dataset) => [
            el(
              "a",
              { href: href(`datasets/${encodeURIComponent(dataset.id)}`), class: "cut", title: dataset.id },
              dataset.name || shortId(dataset.id),
            ),
            dataset.rejection ? el("small", { class: "problem" }, dataset.rejection.code) : null,
          ],
        },
        {
          head: "Format",
          class: "wide narrow",
          key: (dataset) => dataset.format,
          cell: (dataset) => dataset.format,
        },
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
        {
          head: "Inputs",
          class: "wide",
          key: (dataset) => dataset.inputs,
          cell: (dataset) =>
            Object.entries(dataset.inputs)
              .slice(0, 3)
              .map(([name, spec]) => el("div", { class: "cut" }, `${name} (${/** @type {any} */ (spec).kind})`)),
        },
        {
          head: "Targets",
          class: "wide",
          key: (dataset) => dataset.targets,
          cell: (dataset) =>
            Object.entries(dataset.targets)
              .slice(0, 3)
              .map(([name, spec]) => el("div", { class: "cut" }, `${name} (${/** @type {any} */ (spec).kind})`)),
        },
        {
          head: "Warnings",
          class: "narrow",
          key: (dataset) => dataset.warnings.length,
          cell: (dataset) => (dataset.warnings.length ? counted(dataset.warnings.length, "warning") : ""),
        },
        {
          head: "Created",
          class: "wide narrow",
          key: (dataset) => dataset.created_at,
          cell: (dataset) => timeOf(dataset.created_at),
        },
      ],
      filters: [
        {
          name: "state",
          label: "State",
          options: ["verifying", "ready", "rejected"].map((each) => [each, STATES[each].word]),
        },
        { name: "format", label: "Format", options: FORMATS.map((each) => [each, each]) },
      ],
      prepare: async (rows) => {
        for (const row of rows) keep(row.id, row.name, row.state);
        tell(rows);
      },
      empty: [
        "There are no datasets yet. A dataset is uploaded by ",
        el("code", null, "POST /v1/datasets"),
        "; the README shows how.",
      ],
    },
    query,
    signal,
  );
}
