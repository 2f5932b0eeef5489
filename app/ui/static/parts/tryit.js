// @ts-check
// Rows for a model to answer: of a dataset's preview, typed, or an image or sound file.
import { ApiError, get, send } from "../lib/api.js";
import { el, fill, newId } from "../lib/dom.js";
import { figure, share } from "../lib/format.js";
import { pretty } from "../lib/json.js";
import { bars, problem } from "./bits.js";
import { missingOf, nested, requestOf } from "./previewed.js";
import { rowList } from "./rows.js";

const MOST_CLASSES = 5;
const MOST_PREVIEWED = 12;
const MOST_TYPED = 4096;
const SOME_TOKENS = 8;

/**
 * @param {any} model
 * @param {{ datasets: { id: string, name: string }[], hasTeachers: boolean, signal: AbortSignal }} options The datasets whose rows it may read, the likeliest first.
 * @returns {HTMLElement}
 */
export function tryIt(model, { datasets, hasTeachers, signal }) {
  const [typedId, fileId] = [newId("typed"), newId("file")];
  const answer = el("div", { "aria-live": "polite" });
  const compare = el("input", { type: "checkbox" });
  const typed = el("textarea", {
    id: typedId,
    class: "code",
    rows: 8,
    spellcheck: "false",
    value: pretty(example(model)).text,
  });
  const file = el("input", { id: fileId, type: "file" });
  const preview = el("div");

  /** @param {() => Promise<import("../lib/api.js").Options> | import("../lib/api.js").Options} rows */
  const ask = async (rows) => {
    fill(
      answer,
      el("p", { class: "loading" }, "Waiting for the answer … The first one of a model takes some seconds."),
    );
    try {
      const found = await send("POST", `v1/models/${encodeURIComponent(model.id)}/predict`, {
        ...(await rows()),
        signal,
        query: compare.checked ? { compare: "teacher" } : {},
      });
      fill(answer, answersOf(found, model));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      fill(answer, problem(error));
    }
  };
  file.addEventListener("change", () => {
    const chosen = file.files?.[0];
    if (chosen) ask(() => ({ raw: chosen, type: typeOf(chosen) }));
  });
  const source = el(
    "select",
    { "aria-label": "Dataset of the rows" },
    ...datasets.map((each) => el("option", { value: each.id }, each.name)),
  );
  const load = () => showRows(preview, source.value, model, ask, signal);
  source.addEventListener("change", load);
  if (datasets.length) load();
  return el(
    "div",
    null,
    hasTeachers ? el("div", { class: "choices" }, el("label", null, compare, "Also ask its teachers")) : null,
    answer,
    datasets.length
      ? el("div", { class: "field" }, el("span", { class: "label" }, "Rows of a dataset"), source, preview)
      : null,
    el(
      "div",
      { class: "field" },
      el("label", { for: typedId }, "Rows as JSON"),
      typed,
      el("div", null, el("button", { type: "button", onclick: () => ask(() => ({ raw: typed.value })) }, "Ask")),
    ),
    el(
      "div",
      { class: "field" },
      el("label", { for: fileId }, "Or a file"),
      file,
      el("small", { class: "soft" }, "An image or a sound, or rows as npz, csv or JSON lines."),
    ),
  );
}

const TYPES = /** @type {Record<string, string>} */ ({
  npz: "application/x-npz",
  csv: "text/csv",
  jsonl: "application/x-ndjson",
  tar: "application/x-tar",
});

/** @param {File} file @returns {string} */
function typeOf(file) {
  return TYPES[file.name.split(".").at(-1) ?? ""] ?? (file.type || "application/octet-stream");
}

/** @param {any} model @returns {any} Rows of zeros in the form that the model takes. */
function example(model) {
  const inputs = Object.entries(model.raw_inputs ?? {}).map(([name, input]) => [
    name,
    [zeros(/** @type {any} */ (input))],
  ]);
  return { inputs: Object.fromEntries(inputs.length ? inputs : [["x", [[0]]]]) };
}

/** @param {any} input */
function zeros({ dtype, shape, columns, tokens, categories }) {
  if (tokens?.ids) return idsOf(tokens, shape);
  if (tokens?.words) return ["a", "text"];
  if (tokens) return columns?.length === 2 ? ["a text", "another text"] : "a text";
  const size = shape.reduce(
    (/** @type {number} */ product, /** @type {number | null} */ side) => product * (side ?? 1),
    1,
  );
  if (categories) return categories.map((/** @type {string[]} */ each) => each[0]);
  const sides = shape.map((/** @type {number | null} */ side) => side ?? 1);
  return size > MOST_TYPED ? [] : nested(Array(size).fill(dtype === "string" ? "" : 0), sides);
}

/** @param {any} tokens @param {(number | null)[]} shape @returns {number[]} Some ids of tokens, as many as a row must have. */
function idsOf({ vocabulary, length }, shape) {
  const size = shape[0] ?? Math.min(SOME_TOKENS, length ?? SOME_TOKENS);
  return Array.from({ length: size }, (_, i) => Math.min(i + 1, (vocabulary ?? Infinity) - 1));
}

/**
 * @param {HTMLElement} place
 * @param {string} dataset
 * @param {any} model
 * @param {(rows: () => Promise<import("../lib/api.js").Options>) => Promise<void>} ask
 * @param {AbortSignal} signal
 */
async function showRows(place, dataset, model, ask, signal) {
  place.dataset.of = dataset;
  try {
    const { rows } = await get(`v1/datasets/${encodeURIComponent(dataset)}/preview`, {}, signal);
    if (place.dataset.of !== dataset) return;
    const some = rows.slice(0, MOST_PREVIEWED);
    const reason = some.map((/** @type {any} */ row) => missingOf(row, model)).find(Boolean);
    const words = `${some.every((/** @type {any} */ row) => missingOf(row, model)) ? "These" : "Some of these"} rows cannot be asked from here: ${reason}. Write rows as JSON below, or choose a file.`;
    fill(
      place,
      reason ? el("p", { class: "soft" }, words) : null,
      rowList(some, (row, item) =>
        missingOf(row, model)
          ? null
          : el(
              "button",
              {
                type: "button",
                "aria-label": `Ask about row ${row.row}`,
                onclick: async () => {
                  for (const other of place.querySelectorAll("[data-chosen]")) other.removeAttribute("data-chosen");
                  item.dataset.chosen = "";
                  await ask(() => requestOf(row, model));
                },
              },
              "Ask",
            ),
      ),
    );
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    fill(place, error.code === "no_preview" ? el("p", { class: "soft" }, error.detail) : problem(error));
  }
}

/** @param {any} found @param {any} model @returns {HTMLElement} */
function answersOf(found, model) {
  const teachers = (found.teachers ?? []).map((/** @type {any} */ each) =>
    el(
      "div",
      { class: "card" },
      el("h3", null, `Teacher of ${each.task}`),
      each.answer
        ? answerOf(each.answer, model.outputs[each.task])
        : el("p", { class: "soft" }, each.not_answered?.message ?? ""),
      each.agreement?.same === null || !each.agreement
        ? null
        : el("p", { class: "soft" }, `Same answer on ${share(each.agreement.same)} of the rows.`),
    ),
  );
  return el(
    "div",
    { class: "workers" },
    ...Object.entries(found.outputs).map(([name, answer]) =>
      el("div", { class: "card" }, el("h3", null, name), answerOf(answer, model.outputs[name])),
    ),
    ...teachers,
  );
}

/** @param {any} answer @param {any} output @returns {HTMLElement} The answers of one output, row by row. */
function answerOf(answer, output) {
  const rows = answer.class ?? answer.value ?? answer.labels ?? answer.vector ?? answer.map ?? [];
  return el(
    "div",
    null,
    ...rows.slice(0, 16).map((/** @type {any} */ row, /** @type {number} */ i) => {
      const label = el(
        "p",
        null,
        rows.length > 1 ? `Row ${i + 1}: ` : "",
        el("strong", null, Array.isArray(row) ? row.flat(3).slice(0, 12).map(word).join(", ") : word(row)),
      );
      const chances = answer.probabilities?.[i];
      if (!Array.isArray(chances) || Array.isArray(chances[0])) return label;
      const names = output?.classes ?? [];
      const entries = chances.map(
        (/** @type {number} */ value, /** @type {number} */ place) =>
          /** @type {[string, number]} */ ([String(names[place] ?? place), value]),
      );
      entries.sort((/** @type {[string, number]} */ a, /** @type {[string, number]} */ b) => b[1] - a[1]);
      return el(
        "div",
        null,
        label,
        bars(entries.slice(0, MOST_CLASSES), { most: 1, words: (value) => share(value) }),
      );
    }),
  );
}

/** @param {any} value */
function word(value) {
  return typeof value === "number" && !Number.isInteger(value) ? figure(value) : String(value);
}
