// @ts-check
// Addresses to pages. A page is a module with `show`, fetched when it is first needed.
import { ApiError, BASE, request } from "./api.js";
import { el, fill } from "./dom.js";
import { poll } from "./live.js";
import { OWN_ERRORS } from "./wording.js";

/** @typedef {{ main: HTMLElement, id: string, query: URLSearchParams, signal: AbortSignal }} Place */
/** @typedef {{ title: string, show: (place: Place) => void | Promise<void> }} Page */

/** @type {[RegExp, string, string][]} Pattern of the path, entry of the navigation, module. */
const PAGES = [
  [/^jobs$/, "jobs", "jobs"],
  [/^jobs\/([^/]+)$/, "jobs", "job"],
  [/^compare$/, "jobs", "compare"],
  [/^models$/, "models", "models"],
  [/^models\/([^/]+)$/, "models", "model"],
  [/^datasets$/, "datasets", "datasets"],
  [/^datasets\/([^/]+)$/, "datasets", "dataset"],
  [/^new$/, "new", "new"],
  [/^system$/, "system", "system"],
];

let leaving = new AbortController();
let shownAt = "";

/** @param {string} path A path below the dashboard, such as `jobs/job_…`. @param {Record<string, string | null | undefined>} [query] @returns {string} */
export function href(path, query) {
  const found = new URL(path, BASE);
  for (const [name, value] of Object.entries(query ?? {})) if (value) found.searchParams.set(name, value);
  return found.href;
}

/**
 * Show the page of an address.
 * @param {string} address
 * @param {{ replace?: boolean }} [options]
 * @returns {Promise<void>}
 */
export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  return show();
}

/**
 * Change the query of this page without showing it anew.
 * @param {Record<string, string | null | undefined>} query
 * @param {any} [state] What the browser keeps with the address, also when the page is loaded anew.
 */
export function note(query, state = null) {
  const found = new URL(location.href);
  for (const [name, value] of Object.entries(query)) {
    if (value) found.searchParams.set(name, value);
    else found.searchParams.delete(name);
  }
  history.replaceState(state, "", found);
  shownAt = address();
}

function address() {
  return location.pathname + location.search;
}

/** Begin: links and the buttons of the browser show pages. */
export function begin() {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (
      !link ||
      event.defaultPrevented ||
      event.button ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const target = new URL(link.getAttribute("href") ?? "", location.href);
    const isOurs =
      target.origin === BASE.origin && target.pathname.startsWith(BASE.pathname) && !link.hasAttribute("download");
    if (!isOurs || link.getAttribute("target") || target.hash) return;
    event.preventDefault();
    go(target.href);
  });
  addEventListener("popstate", () => address() !== shownAt && show());
  return show({ isFirst: true });
}

/**
 * Show the page of the address that the browser has.
 * @param {{ isFirst?: boolean }} [options]
 * @returns {Promise<void>}
 */
export async function show({ isFirst = false } = {}) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  shownAt = address();
  const below = location.pathname.slice(BASE.pathname.length).replace(/\/$/, "");
  if (!below) {
    await go(href("jobs"), { replace: true });
    return;
  }
  const { name, module, id } = found(below);
  mark(name);
  const page = await loaded(module, signal);
  if (!page || signal.aborted) return;
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  main.replaceChildren();
  title(page.title);
  await page.show({
    main,
    id,
    query: new URLSearchParams(location.search),
    signal,
  });
  if (!isFirst && !signal.aborted) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

/** @param {string} below A path below the dashboard. @returns {{ name: string, module: string, id: string }} */
function found(below) {
  for (const [pattern, name, module] of PAGES) {
    const match = pattern.exec(below);
    if (!match) continue;
    try {
      return { name, module, id: decodeURIComponent(match[1] ?? "") };
    } catch {
      break; // such as `jobs/%`
    }
  }
  return { name: "", module: "missing", id: "" };
}

/** @param {string} module @param {number} [attempt] @returns {Promise<Page>} */
function fetched(module, attempt) {
  const query = attempt ? `?try=${attempt}` : ""; // browsers remember that a module could not be fetched
  return import(new URL(`../pages/${module}.js${query}`, import.meta.url).href);
}

/**
 * A page's module. Where it cannot be fetched, such as while the service restarts, this is said and tried again.
 * @param {string} module
 * @param {AbortSignal} signal
 * @returns {Promise<Page | null>} null once the page is left.
 */
async function loaded(module, signal) {
  try {
    return await fetched(module);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  if (signal.aborted) return null;
  const words = el("p", { role: "status" }, OWN_ERRORS.service_away, " It is tried again by itself.");
  const again = el(
    "button",
    { type: "button", class: "primary", onclick: () => location.reload() },
    "Load it anew",
  );
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  main.replaceChildren(el("h1", null, "This page could not be loaded"), words);
  title("Not loaded");
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => resolve(null));
    let attempt = 0;
    poll(
      async (within) => {
        attempt += 1;
        try {
          resolve(await fetched(module, attempt));
          return false;
        } catch (error) {
          if (!(error instanceof TypeError)) {
            reject(error);
            return false;
          }
        }
        // A service that answers has another version of the page, or a part of it is remembered as not there.
        await request("GET", "ui/session", { open: true, signal: within }).catch((error) => {
          if (!(error instanceof ApiError) || error.isTemporary) throw error;
        });
        fill(words, "The service answers, but a part of this page is missing: it may be another version now.");
        if (!again.isConnected) main.append(again);
        throw new ApiError(0, "page_missing", OWN_ERRORS.page_missing);
      },
      { every: 1000, signal },
    );
  });
}

/** @param {string} text */
export function title(text) {
  const found = `${text} · Stillhouse`;
  if (document.title !== found) document.title = found;
}

/** @param {string} name */
function mark(name) {
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.getAttribute("data-page") === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
