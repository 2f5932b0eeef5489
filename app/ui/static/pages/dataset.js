// @ts-check
// One dataset.
import { ApiError, get, send } from "../lib/api.js";
import { copy, el, fill, rich, toast } from "../lib/dom.js";
import { bytes, count, counted, timeOf } from "../lib/format.js";
import { poll } from "../lib/live.js";
import { keep, linkTo } from "../lib/names.js";
import { go, href, title as setTitle } from "../lib/router.js";
import { bars, facts, note, pageHead, problem, section, showError, stateBadge, warning } from "../parts/bits.js";
import { confirm } from "../parts/dialogs.js";
import { rowList } from "../parts/rows.js";
import { encodingOf, inputsOf, targetOf } from "./dataset/tables.js";

export const title = "Dataset";

/** @param {import("../lib/router.js").Place} place */
export function show({ main, id, signal }) {
  let shown = "";
  poll(
    async (within) => {
      const dataset = await get(`v1/datasets/${encodeURIComponent(id)}`, {}, within);
      keep(dataset.id, dataset.name, dataset.state);
      const key = JSON.stringify(dataset);
      if (key !== shown) {
        shown = key;
        draw(main, dataset, signal);
      }
      return dataset.state === "verifying" ? undefined : false;
    },
    {
      signal,
      onError: (error) =>
        showError(main, error, error.status === 404 ? "This dataset is not there" : "This dataset cannot be shown"),
    },
  );
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
        el("button", { type: "button", class: "danger", onclick: () => remove(dataset) }, "Delete"),
      ],
    ),
    stateOf(dataset),
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
            ["Created", timeOf(dataset.created_at)],
            ...Object.entries(dataset.metadata).map(
              ([name, value]) => /** @type {[string, any]} */ ([name, value]),
            ),
            [
              "Id",
              [
                el("code", null, dataset.id),
                el("button", { type: "button", class: "plain", onclick: () => copy(dataset.id, "the id") }, "Copy"),
              ],
            ],
          ]),
        ),
        Object.keys(dataset.splits).length
          ? section(
              "Splits",
              bars(Object.entries(dataset.splits)),
              el("p", null, el("small", { class: "soft" }, dealtOf(dataset.dealt))),
            )
          : null,
        section(
          "Files",
          el(
            "ul",
            { class: "plain" },
            ...dataset.files.map((/** @type {any} */ file) =>
              el(
                "li",
                null,
                `${file.name}, ${bytes(file.bytes)}`,
                dataset.file_rows[file.name] ? `, ${counted(dataset.file_rows[file.name], "row")}` : "",
                el(
                  "div",
                  null,
                  el(
                    "small",
                    { class: "soft" },
                    "SHA-256 ",
                    el("code", { title: file.sha256 }, `${file.sha256.slice(0, 12)}…`),
                  ),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  );
  if (dataset.state === "ready") fillPreview(preview, dataset.id, signal);
}

/** @param {any} dataset */
function stateOf({ state, rejection }) {
  if (state === "verifying")
    return note(
      "plain",
      el("p", null, "The upload is being inspected. This page shows the result as soon as it is there."),
    );
  if (!rejection) return null;
  return note(
    "bad",
    el("p", null, el("strong", null, "The upload was rejected. "), ...rich(rejection.message)),
    el("p", null, el("code", null, rejection.code)),
    el(
      "p",
      null,
      "Send a better manifest by PATCH within 24 hours, and the same files are inspected again; or upload other files.",
    ),
  );
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

/** @param {any} dataset */
function remove(dataset) {
  confirm(
    {
      title: `Delete ${dataset.name}?`,
      action: "Delete",
      isDangerous: true,
      text: "Its files are deleted and cannot be brought back. Jobs that have not ended and need it keep it: the service then refuses.",
    },
    async () => {
      await send("DELETE", `v1/datasets/${encodeURIComponent(dataset.id)}`);
      toast("The dataset was deleted");
      go(href("datasets"));
    },
  );
}
