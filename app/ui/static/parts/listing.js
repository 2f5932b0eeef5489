// @ts-check
// A live list of the service, a page at a time: filters and place are in the address, and rows keep their elements, so
// that focus and selection survive what arrives.
import { get } from "../lib/api.js";
import { announce, el, fill, say } from "../lib/dom.js";
import { counted } from "../lib/format.js";
import { poll } from "../lib/live.js";
import { note as noteQuery } from "../lib/router.js";
import { note, problem } from "./bits.js";

/** @typedef {any} Row */
/** @typedef {{ head: string, class?: string, isName?: boolean, key: (row: Row) => unknown, cell: (row: Row) => import("../lib/dom.js").Children }} Column */
/** @typedef {{ name: string, label: string, options?: [string, string][], type?: string }} Filter */
/**
 * @typedef {object} Listing
 * @property {string} path
 * @property {string} caption
 * @property {string} noun
 * @property {Column[]} columns
 * @property {Filter[]} filters
 * @property {(rows: Row[]) => Promise<unknown>} [prepare] What must be known before rows are shown.
 * @property {import("../lib/dom.js").Children} empty What to say where there is nothing at all.
 */

const ROWS = 50;
const TYPING = 300;
/** Characters of a filter that the service takes. */
const MOST_TEXT = 200;

/**
 * Show a listing.
 * @param {HTMLElement} main
 * @param {Listing} listing
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
export function showListing(main, listing, query, signal) {
  const { chosen, dropped } = filtersOf(listing.filters, query);
  /** @type {{ after: string | null, trail: (string | null)[], next: string | null }} */
  const place = { after: query.get("after"), trail: trailOf(history.state), next: null };
  const table = new KeyedTable(listing.caption, listing.columns);
  const message = el("p", { class: "empty" }, "Loading …");
  const pager = makePager(listing.noun);
  const [trouble, left] = [el("div"), el("div")];
  if (dropped.length) fill(left, leftOut(dropped));

  const task = async (/** @type {AbortSignal} */ within) => {
    const asked = JSON.stringify([chosen, place.after]);
    const found = await get(listing.path, { ...chosen, after: place.after, limit: ROWS }, within);
    await listing.prepare?.(found.data);
    if (asked !== JSON.stringify([chosen, place.after])) return;
    place.next = found.next;
    table.update(found.data);
    fill(trouble);
    const isFiltered = Object.values(chosen).some(Boolean) || place.after;
    message.hidden = found.data.length > 0;
    if (!found.data.length)
      fill(message, ...(isFiltered ? ["Nothing matches these filters."] : [listing.empty].flat()));
    pager.update(found.data.length, place, found.has_more);
  };
  const start = () => poll(task, { signal, onError });
  const onError = (/** @type {import("../lib/api.js").ApiError} */ error) => {
    if (place.after && (error.status === 400 || error.status === 422)) {
      fill(left, leftOut(["after"]));
      place.after = null;
      place.trail = [];
      turn();
    } else fill(trouble, problem(error));
  };
  const turn = () => {
    noteQuery({ ...chosen, after: place.after }, { trail: place.trail });
    live.stop(); // a poll that was refused has ended
    live = start();
  };
  let live = start();
  pager.older.addEventListener("click", () => {
    place.trail.push(place.after);
    place.after = place.next;
    turn();
  });
  pager.newer.addEventListener("click", () => {
    place.after = place.trail.pop() ?? null;
    turn();
  });
  const onFilter = (/** @type {string} */ name, /** @type {string} */ value) => {
    chosen[name] = value;
    place.after = null;
    place.trail = [];
    fill(left);
    turn();
  };
  main.append(
    filterForm(listing.filters, chosen, onFilter),
    left,
    trouble,
    el(
      "div",
      { class: "scroll listing", tabindex: 0, role: "region", "aria-label": listing.caption },
      table.node,
      message,
    ),
    pager.node,
  );
}

/**
 * What the address chooses, without what the service would refuse.
 * @param {Filter[]} filters
 * @param {URLSearchParams} query
 * @returns {{ chosen: Record<string, string>, dropped: string[] }}
 */
function filtersOf(filters, query) {
  const isGood = (/** @type {Filter} */ { options }, /** @type {string} */ value) =>
    options ? options.some(([each]) => each === value) : value.length <= MOST_TEXT;
  const given = filters.map((each) => ({ each, value: query.get(each.name) ?? "" }));
  const bad = given.filter(({ each, value }) => value && !isGood(each, value)).map(({ each }) => each.name);
  const kept = given.map(({ each, value }) => [each.name, bad.includes(each.name) ? "" : value]);
  return { chosen: Object.fromEntries(kept), dropped: bad };
}

/** @param {any} state What the browser keeps with the address. @returns {(string | null)[]} The pages before this one. */
function trailOf(state) {
  return Array.isArray(state?.trail) ? [...state.trail] : [];
}

/** @param {string[]} names @returns {HTMLElement} */
function leftOut(names) {
  const fields = names.flatMap((name, i) => [i ? ", " : "", el("code", null, name)]);
  return note(
    "plain",
    el("p", { role: "status" }, "The address was not understood and is read without ", ...fields, "."),
  );
}

/**
 * @param {Filter[]} filters
 * @param {Record<string, string>} chosen
 * @param {(name: string, value: string) => void} onChange
 * @returns {HTMLElement}
 */
function filterForm(filters, chosen, onChange) {
  const fields = filters.map(({ name, label, options, type }) => {
    const input = options
      ? el(
          "select",
          { name },
          el("option", { value: "" }, "any"),
          ...options.map(([value, word]) => el("option", { value }, word)),
        )
      : el("input", {
          name,
          type: type ?? "search",
          maxlength: MOST_TEXT,
          autocomplete: "off",
          spellcheck: "false",
        });
    input.value = chosen[name] ?? "";
    const tell = () => onChange(name, input.value.trim());
    let timer = 0;
    input.addEventListener(options ? "change" : "input", () => {
      clearTimeout(timer);
      if (options) tell();
      else timer = window.setTimeout(tell, TYPING);
    });
    return el("label", null, label, input);
  });
  const form = el("form", { class: "filters", role: "search", "aria-label": "Filters" }, ...fields);
  form.addEventListener("submit", (event) => event.preventDefault());
  return form;
}

/** @param {string} noun */
function makePager(noun) {
  const newer = el("button", { type: "button", disabled: true }, "← Newer");
  const older = el("button", { type: "button", disabled: true }, "Older →");
  const words = el("span", { role: "status" });
  const node = el("nav", { class: "pager", "aria-label": "Pages of the list" }, newer, older, words);
  return {
    node,
    newer,
    older,
    /** @param {number} rows @param {{ after: string | null }} place @param {boolean} hasMore */
    update(rows, place, hasMore) {
      newer.hidden = older.hidden = !place.after && !hasMore;
      newer.disabled = !place.after;
      older.disabled = !hasMore;
      node.hidden = !rows && !place.after;
      say(words, hasMore || place.after ? `${counted(rows, noun)} on this page` : counted(rows, noun));
    },
  };
}

/** A table whose rows keep their elements by their ids; a cell changes only where its `key` does. */
class KeyedTable {
  /** @param {string} caption @param {Column[]} columns */
  constructor(caption, columns) {
    this.columns = columns;
    /** @type {Map<string, { node: HTMLTableRowElement, cells: HTMLElement[], keys: string[] }>} */
    this.rows = new Map();
    this.body = el("tbody");
    this.node = el(
      "table",
      null,
      el("caption", { class: "unseen" }, caption),
      el(
        "thead",
        null,
        el("tr", null, ...columns.map((each) => el("th", { scope: "col", class: each.class }, each.head))),
      ),
      this.body,
    );
  }

  /** @param {Row[]} rows */
  update(rows) {
    const ids = new Set(rows.map((row) => row.id));
    for (const [id, { node }] of this.rows) {
      if (!ids.has(id)) {
        node.remove();
        this.rows.delete(id);
      }
    }
    rows.forEach((row, i) => {
      const made = this.rows.get(row.id) ?? this._make(row.id);
      this.columns.forEach((column, c) => {
        const key = JSON.stringify(column.key(row)) ?? "";
        if (made.keys[c] === key) return;
        made.keys[c] = key;
        fill(made.cells[c], ...[column.cell(row)].flat());
      });
      if (this.body.children[i] !== made.node) this.body.insertBefore(made.node, this.body.children[i] ?? null);
    });
  }

  /** @param {string} id */
  _make(id) {
    const cells = this.columns.map((each) =>
      each.isName ? el("th", { scope: "row", class: each.class }) : el("td", { class: each.class }),
    );
    const made = { node: el("tr", { "data-id": id }, ...cells), cells, keys: /** @type {string[]} */ ([]) };
    this.rows.set(id, made);
    return made;
  }
}

/** Tell screen readers of rows whose state is another than before. @param {string} what @returns {(rows: Row[]) => void} */
export function stateTeller(what) {
  /** @type {Map<string, string>} */
  const states = new Map();
  return (rows) => {
    const changed = rows.filter((row) => states.has(row.id) && states.get(row.id) !== row.state);
    for (const row of rows) states.set(row.id, row.state);
    if (changed.length) announce(changed.map((row) => `${what} ${row.name ?? row.id} is ${row.state}`).join(". "));
  };
}
