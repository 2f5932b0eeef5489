// @ts-check
// What the pages of models and of datasets have in common: both are uploads with a state, a rejection and files.
import { get, send } from "../lib/api.js";
import { copy, el, rich, toast } from "../lib/dom.js";
import { bytes, counted, shortId, timeOf } from "../lib/format.js";
import { poll } from "../lib/live.js";
import { keep } from "../lib/names.js";
import { go, href } from "../lib/router.js";
import { STATES } from "../lib/wording.js";
import { note, showError, stateBadge } from "./bits.js";
import { confirm } from "./dialogs.js";
import { showListing, stateTeller } from "./listing.js";

/** @typedef {"model" | "dataset"} Kind */

/**
 * The list of one kind: what both have beside the columns in between.
 * @param {Kind} kind
 * @param {import("../lib/router.js").Place} place
 * @param {{ columns: import("./listing.js").Column[], formats: string[], empty: any[] }} options
 */
export function showUploads(kind, { main, query, signal }, { columns, formats, empty }) {
  const word = capital(kind);
  const tell = stateTeller(word);
  /** @type {(values: string[], words: (value: string) => string) => [string, string][]} */
  const options = (values, words) => values.map((each) => [each, words(each)]);
  showListing(
    main,
    {
      path: `v1/${kind}s`,
      caption: `${word}s, newest first`,
      noun: kind,
      columns: [
        { head: "State", class: "narrow", key: (each) => each.state, cell: (each) => stateBadge(each.state) },
        { head: "Name", isName: true, key: (each) => [each.name, each.rejection], cell: (each) => named(kind, each) },
        ...columns,
        { head: "Created", class: "wide narrow", key: (each) => each.created_at, cell: (each) => timeOf(each.created_at) },
      ],
      filters: [
        {
          name: "state",
          label: "State",
          options: options(["verifying", "ready", "rejected"], (each) => STATES[each].word),
        },
        { name: "format", label: "Format", options: options(formats, (each) => each) },
      ],
      prepare: async (rows) => {
        for (const row of rows) keep(row.id, row.name, row.state);
        tell(rows);
      },
      empty,
    },
    query,
    signal,
  );
}

/** @param {Kind} kind @param {any} upload */
function named(kind, { id, name, rejection }) {
  const path = `${kind}s/${encodeURIComponent(id)}`;
  return [
    el("a", { href: href(path), class: "cut", title: id }, name || shortId(id)),
    rejection ? el("small", { class: "problem" }, rejection.code) : null,
  ];
}

/**
 * One upload, drawn anew while it is inspected.
 * @param {Kind} kind
 * @param {import("../lib/router.js").Place} place
 * @param {(upload: any) => void | Promise<void>} draw
 */
export function showUpload(kind, { main, id, signal }, draw) {
  let shown = "";
  poll(
    async (within) => {
      const upload = await get(`v1/${kind}s/${encodeURIComponent(id)}`, {}, within);
      keep(upload.id, upload.name, upload.state);
      const key = JSON.stringify(upload);
      if (key !== shown) {
        shown = key;
        await draw(upload);
      }
      return upload.state === "verifying" ? undefined : false;
    },
    {
      signal,
      onError: (error) =>
        showError(main, error, error.status === 404 ? `This ${kind} is not there` : `This ${kind} cannot be shown`),
    },
  );
}

/** @param {any} upload @returns {HTMLElement | null} That it is inspected, or why it was rejected and the way out. */
export function inspectionOf({ state, rejection, files }) {
  if (state === "verifying")
    return note(
      "plain",
      el("p", null, "The upload is being inspected. This page shows the result as soon as it is there."),
    );
  if (!rejection) return null;
  const words = files.length > 1 ? ["files are", "other files"] : ["file is", "another file"];
  return note(
    "bad",
    el("p", null, el("strong", null, "The upload was rejected. "), ...rich(rejection.message)),
    el("p", null, el("code", null, rejection.code)),
    el(
      "p",
      null,
      `Send a better manifest by PATCH within 24 hours, and the same ${words[0]} inspected again; or upload ${words[1]}.`,
    ),
  );
}

/** @param {any} upload @returns {[string, any][]} Facts: when it was made, its metadata and its id. */
export function factsOfUpload({ id, created_at: created, metadata }) {
  return [
    ["Created", timeOf(created)],
    ...Object.entries(metadata),
    [
      "Id",
      [
        el("code", null, id),
        el("button", { type: "button", class: "plain", onclick: () => copy(id, "the id") }, "Copy"),
      ],
    ],
  ];
}

/** @param {any} upload @param {(file: any) => any} aside What is said of a file beside its name and size. */
export function filesOf({ files }, aside) {
  return el(
    "ul",
    { class: "plain" },
    ...files.map((/** @type {any} */ file) =>
      el(
        "li",
        null,
        `${file.name}, ${bytes(file.bytes)}`,
        aside(file),
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
  );
}

/** @param {Kind} kind @param {any} upload @returns {HTMLElement} The button that deletes it. */
export function deleteButton(kind, { id, name }) {
  const remove = async () => {
    await send("DELETE", `v1/${kind}s/${encodeURIComponent(id)}`);
    toast(`The ${kind} was deleted`);
    go(href(`${kind}s`));
  };
  const question = {
    title: `Delete ${name}?`,
    action: "Delete",
    isDangerous: true,
    text: "Its files are deleted and cannot be brought back. Jobs that have not ended and need it keep it: the service then refuses.",
  };
  return el("button", { type: "button", class: "danger", onclick: () => confirm(question, remove) }, "Delete");
}

/** @param {string} word */
function capital(word) {
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}

/** @param {Record<string, any>} specs Of inputs or targets. @returns {HTMLElement[]} Names and kinds of the first ones. */
export function kindsOf(specs) {
  return Object.entries(specs)
    .slice(0, 3)
    .map(([name, { kind }]) => el("div", { class: "cut" }, `${name} (${kind})`));
}

/** @param {number | undefined} rows @returns {string} Rows of a file, where they are known. */
export function rowsOf(rows) {
  return rows ? `, ${counted(rows, "row")}` : "";
}
