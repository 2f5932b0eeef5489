// @ts-check
// One dataset.
import { ApiError, get } from "../lib/api.js";
import { el, fill } from "../lib/dom.js";
import { count, counted } from "../lib/format.js";
import { linkTo } from "../lib/names.js";
import { href, title as setTitle } from "../lib/router.js";
import { bars, facts, pageHead, problem, section, stateBadge, warning } from "../parts/bits.js";
import { rowList } from "../parts/rows.js";
import { deleteButton, factsOfUpload, filesOf, inspectionOf, rowsOf, showUpload } from "../parts/uploads.js";
import { encodingOf, inputsOf, targetOf } from "./dataset/tables.js";

export const title = "Dataset";

/** @param {import("../lib/router.js").Place} place */
export function show(place) {
  showUpload("dataset", place, (dataset) => draw(place.main, dataset, place.signal));
}

/** @param {HTMLElement} main @param {any} dataset @param {AbortSignal} signal */
function draw(main, dataset, signal) {
  setTitle(`${dataset.name}, dataset`);
  const isUsable = dataset.state === "ready" && dataset.format !== "predictions";
  const preview = el("div", null, el("p", { class: "loading" }, "Loading …"));
  fill(
    main,
    pageHead(
      dataset.name,
      [
        stateBadge(dataset.state),
        el("span", null, dataset.format),
        dataset.rows === null ? "" : el("span", null, counted(dataset.rows, "row")),
      ],
      [
        isUsable
          ? el(
              "a",
              { class: "button", href: href("new", { dataset: dataset.id, kind: "train" }) },
              "Train a teacher",
            )
          : null,
        isUsable ? el("a", { class: "button", href: href("new", { dataset: dataset.id }) }, "Distil on it") : null,
        deleteButton("dataset", dataset),
      ],
    ),
    inspectionOf(dataset),
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        null,
        dataset.warnings.length ? section("Warnings", ...dataset.warnings.map(warning)) : null,
        dataset.state === "ready" ? section("Rows", preview) : null,
        ...Object.entries(dataset.targets).map(([name, spec]) =>
          section(`Target ${name}`, targetOf(/** @type {any} */ (spec), dataset.statistics[name] ?? {})),
        ),
        Object.keys(dataset.inputs).length ? section("Inputs", inputsOf(dataset)) : null,
        ...Object.entries(dataset.encodings).map(([name, encoding]) =>
          encodingOf(name, /** @type {any} */ (encoding), dataset.column_counts[name] ?? {}),
        ),
      ),
      el(
        "aside",
        { "aria-label": "About this dataset" },
        section(
          "About",
          facts([
            ["Format", dataset.format],
            ["Rows", count(dataset.rows)],
            ["For", dataset.of ? linkTo(dataset.of) : null],
            ...factsOfUpload(dataset),
          ]),
        ),
        Object.keys(dataset.splits).length
          ? section(
              "Splits",
              bars(Object.entries(dataset.splits)),
              el("p", null, el("small", { class: "soft" }, dealtOf(dataset.dealt))),
            )
          : null,
        section("Files", filesOf(dataset, (file) => rowsOf(dataset.file_rows[file.name]))),
      ),
    ),
  );
  if (dataset.state === "ready") fillPreview(preview, dataset.id, signal);
}

/** @param {any} dealt @returns {string} */
function dealtOf(dealt) {
  if (!dealt) return "";
  if (dealt.column) return `By the column ${dealt.column}.`;
  if (dealt.files) return "By file.";
  if (dealt.shuffle === false) return "In the order of the file.";
  const ways = [
    dealt.stratify ? `equal shares of the classes of ${dealt.stratify}` : "",
    dealt.group ? `rows with the same ${dealt.group} together` : "",
  ].filter(Boolean);
  return `At random, from seed ${dealt.seed ?? 0}${ways.length ? `, ${ways.join(", ")}` : ""}.`;
}

/** @param {HTMLElement} place @param {string} id @param {AbortSignal} signal */
async function fillPreview(place, id, signal) {
  try {
    const { rows } = await get(`v1/datasets/${encodeURIComponent(id)}/preview`, {}, signal);
    fill(place, rows.length ? rowList(rows) : el("p", { class: "soft" }, "There are no rows to show."));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    fill(place, error.code === "no_preview" ? el("p", { class: "soft" }, error.detail) : problem(error));
  }
}
