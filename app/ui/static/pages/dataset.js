// @ts-check
// One dataset.
import { ApiError, get, send } from "../lib/api.js";
import { copy, el, fill, rich, toast } from "../lib/dom.js";
import { bytes, count, counted, figure, timeOf } from "../lib/format.js";
import { poll } from "../lib/live.js";
import { keep, linkTo } from "../lib/names.js";
import { go, href, title as setTitle } from "../lib/router.js";
import {
  bars,
  facts,
  note,
  pageHead,
  plainTable,
  problem,
  section,
  showError,
  stateBadge,
  warning,
} from "../parts/bits.js";
import { confirm } from "../parts/dialogs.js";
import { rowList } from "../parts/rows.js";

export const title = "Dataset";
const MOST_BARS = 30;

/** @param {import("../lib/router.js").Place} place */
export function show({ main, id, signal }) {
  let shown = "";
  poll(
    async (within) => {
      const dataset = await get(`v1/datasets/${id}`, {}, within);
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
    const { rows } = await get(`v1/datasets/${id}/preview`, {}, signal);
    fill(place, rows.length ? rowList(rows) : el("p", { class: "soft" }, "There are no rows to show."));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    fill(place, error.code === "no_preview" ? el("p", { class: "soft" }, error.detail) : problem(error));
  }
}

/** @param {any} spec @param {Record<string, any>} statistics By split. @returns {HTMLElement} */
function targetOf(spec, statistics) {
  const splits = Object.entries(statistics);
  const numbers = splits.some(([, each]) => each.mean !== null && each.mean !== undefined);
  const rows = splits.map(([name, each]) => [
    name,
    count(each.rows),
    count(each.labelled),
    count(each.missing),
    ...(numbers ? [figure(each.minimum), figure(each.mean), figure(each.maximum)] : []),
  ]);
  const train = statistics.train ?? splits[0]?.[1];
  const counts = train?.counts ?? train?.positives;
  const classes = Array.isArray(spec.classes) ? spec.classes : [];
  return el(
    "div",
    null,
    el(
      "p",
      { class: "soft" },
      `Kind ${spec.kind}${classes.length ? `, ${counted(classes.length, "class")}` : typeof spec.classes === "number" ? `, ${spec.classes} classes` : ""}.`,
    ),
    splits.length
      ? plainTable(
          "Labels by split",
          ["Split", "Rows", "With a label", "Without", ...(numbers ? ["Smallest", "Mean", "Largest"] : [])],
          rows,
          { numbers: [1, 2, 3, 4, 5, 6], isHidden: true },
        )
      : null,
    counts
      ? el(
          "div",
          null,
          el("h3", null, `Labels of the ${statistics.train ? "training" : splits[0][0]} rows`),
          countBars(counts, classes),
        )
      : null,
  );
}

/** @param {number[]} counts @param {string[]} names @returns {HTMLElement} */
function countBars(counts, names) {
  const entries = counts.map((value, i) => /** @type {[string, number]} */ ([String(names[i] ?? i), value]));
  if (entries.length <= MOST_BARS) return bars(entries);
  entries.sort((a, b) => b[1] - a[1]);
  const most = entries[0][1];
  return el(
    "div",
    null,
    bars(entries.slice(0, 10), { most }),
    el("p", { class: "soft" }, `${entries.length - 20} more, then the rarest:`),
    bars(entries.slice(-10), { most }),
  );
}

/** @param {any} dataset @returns {HTMLElement} */
function inputsOf(dataset) {
  const rows = Object.entries(dataset.inputs).map(([name, spec]) => {
    const { kind, columns, column, shape, size, scale, missing } = /** @type {any} */ (spec);
    const settings = [
      shape ? `shape ${shape.join(" × ")}` : "",
      size ? `${size.join(" × ")} pixels` : "",
      scale && scale !== 1 ? `times ${figure(scale)}` : "",
      missing ? `missing: ${missing}` : "",
    ];
    return [
      name,
      kind,
      el(
        "span",
        { class: "cut", title: (columns ?? [column ?? name]).join(", ") },
        (columns ?? [column ?? name]).join(", "),
      ),
      settings.filter(Boolean).join(", "),
      dataset.standardization[name]?.because ?? (dataset.standardization[name] ? "standardised" : ""),
    ];
  });
  return plainTable("Inputs", ["Name", "Kind", "Columns", "Settings", "Standardisation"], rows, { isHidden: true });
}

/** @param {string} name @param {any} encoding @param {any} counts @returns {HTMLElement} */
function encodingOf(name, encoding, counts) {
  const replaced = (/** @type {string} */ column) =>
    Object.entries(counts[column] ?? {})
      .flatMap(([split, each]) => {
        const { missing, unseen } = /** @type {any} */ (each);
        return [
          missing ? `${count(missing)} missing in ${split}` : "",
          unseen ? `${count(unseen)} unseen in ${split}` : "",
        ].filter(Boolean);
      })
      .join(", ");
  const rows = encoding.columns.slice(0, 100).map((/** @type {string} */ column, /** @type {number} */ i) => {
    const categories = encoding.categories?.[i];
    return [
      column,
      categories
        ? el(
            "span",
            { class: "cut", title: categories.join(", ") },
            `${categories.length}: ${categories.slice(0, 12).join(", ")}`,
          )
        : encoding.fill
          ? figure(encoding.fill[i])
          : "",
      replaced(column),
    ];
  });
  const head = encoding.categories
    ? `Categories (${(encoding.encoding ?? "").replace("_", "-")})`
    : `Filled with (${encoding.missing})`;
  return section(
    `Encoding of ${name}`,
    plainTable(`Encoding of ${name}`, ["Column", head, "Replaced"], rows, { isHidden: true }),
  );
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
      await send("DELETE", `v1/datasets/${dataset.id}`);
      toast("The dataset was deleted");
      go(href("datasets"));
    },
  );
}
