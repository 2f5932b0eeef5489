// @ts-check
// Addresses to pages. A page is a module with `show`, fetched when it is first needed.
import { BASE } from "./api.js";
import { el } from "./dom.js";

/** @typedef {{ main: HTMLElement, id: string, query: URLSearchParams, signal: AbortSignal }} Place */
/** @typedef {{ title: string, show: (place: Place) => void | Promise<void> }} Page */

/** @type {[RegExp, string, () => Promise<Page>][]} */
const PAGES = [
  [/^jobs$/, "jobs", () => import("../pages/jobs.js")],
  [/^jobs\/([^/]+)$/, "jobs", () => import("../pages/job.js")],
  [/^compare$/, "jobs", () => import("../pages/compare.js")],
  [/^models$/, "models", () => import("../pages/models.js")],
  [/^models\/([^/]+)$/, "models", () => import("../pages/model.js")],
  [/^datasets$/, "datasets", () => import("../pages/datasets.js")],
  [/^datasets\/([^/]+)$/, "datasets", () => import("../pages/dataset.js")],
  [/^new$/, "new", () => import("../pages/new.js")],
  [/^system$/, "system", () => import("../pages/system.js")],
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

/** Change the query of this page without showing it anew. @param {Record<string, string | null | undefined>} query */
export function note(query) {
  const found = new URL(location.href);
  for (const [name, value] of Object.entries(query)) {
    if (value) found.searchParams.set(name, value);
    else found.searchParams.delete(name);
  }
  history.replaceState(null, "", found);
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
  const found = PAGES.map(([pattern, name, load]) => ({ match: pattern.exec(below), name, load })).find(
    (each) => each.match,
  );
  mark(found?.name ?? "");
  const page = await loaded(found?.load ?? (() => import("../pages/missing.js")));
  if (signal.aborted) return;
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  main.replaceChildren();
  title(page.title);
  await page.show({
    main,
    id: decodeURIComponent(found?.match?.[1] ?? ""),
    query: new URLSearchParams(location.search),
    signal,
  });
  if (!isFirst && !signal.aborted) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

/**
 * A page's module; where it cannot be fetched, such as while the service restarts, a page that says so.
 * @param {() => Promise<Page>} load
 * @returns {Promise<Page>}
 */
async function loaded(load) {
  try {
    return await load();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const again = el(
      "button",
      { type: "button", class: "primary", onclick: () => location.reload() },
      "Load it again",
    );
    const words = el("p", null, "The service does not answer, or it is another version than this page.");
    return {
      title: "Not loaded",
      show: ({ main }) => main.append(el("h1", null, "This page could not be loaded"), words, again),
    };
  }
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
