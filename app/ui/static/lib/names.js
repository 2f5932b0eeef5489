// @ts-check
// Names of models, datasets and jobs by their ids, asked for together and kept.
import { get } from "./api.js";
import { el, fill } from "./dom.js";
import { shortId } from "./format.js";
import { href } from "./router.js";

/** Proxies take request lines of 8 kB. */
const MOST_IDS = 50;
/** @type {Map<string, { name: string | null, state: string } | null>} null: it is not there. */
const known = new Map();
/** @type {Set<string>} */
let wanted = new Set();
/** @type {Promise<void> | null} */
let asking = null;

/** @param {string} id @returns {string} The path of its page. */
function pathOf(id) {
  const folder = id.startsWith("mdl_") ? "models" : id.startsWith("ds_") ? "datasets" : "jobs";
  return `${folder}/${encodeURIComponent(id)}`;
}

/** @param {string[]} ids @returns {Promise<void>} Once the names of all of them are known, as far as they have any. */
export async function learn(ids) {
  // What is asked for already may have left without these ids: then they are in the next request.
  for (let left = unknown(ids); left.length; left = unknown(ids)) {
    for (const id of left) wanted.add(id);
    asking ??= Promise.resolve()
      .then(ask)
      .finally(() => {
        asking = null;
      });
    await asking;
  }
}

/** @param {string[]} ids @returns {string[]} */
function unknown(ids) {
  return ids.filter((id) => !known.has(id));
}

async function ask() {
  const ids = [...wanted];
  wanted = new Set();
  for (let first = 0; first < ids.length; first += MOST_IDS) {
    const some = ids.slice(first, first + MOST_IDS);
    const { data } = await get("v1/names", { id: some });
    for (const id of some) known.set(id, data[id] ?? null);
  }
}

/** @param {string} id @param {string | null} name @param {string} state What a page has learned by itself. */
export function keep(id, name, state) {
  known.set(id, { name, state });
}

/** @param {string} id @returns {string} */
export function nameOf(id) {
  const found = known.get(id);
  return found?.name || (found === null ? `${shortId(id)} (deleted)` : shortId(id));
}

/** @param {string} id @returns {HTMLElement} A link with its name, which is filled in once it is known. */
export function linkTo(id) {
  const link = el("a", { href: href(pathOf(id)), title: id }, nameOf(id));
  const place = el("span", null, link);
  if (!known.has(id)) {
    learn([id]).then(
      () => {
        link.textContent = nameOf(id);
        if (known.get(id) === null) fill(place, nameOf(id));
      },
      () => {},
    );
  } else if (known.get(id) === null) {
    fill(place, nameOf(id));
  }
  return place;
}
