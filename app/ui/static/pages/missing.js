// @ts-check
// An address that is no page.
import { el } from "../lib/dom.js";
import { href } from "../lib/router.js";
import { pageHead } from "../parts/bits.js";

export const title = "Not found";

/** @param {import("../lib/router.js").Place} place */
export function show({ main }) {
  main.append(
    pageHead("There is no such page"),
    el(
      "p",
      null,
      `Expected an address of the dashboard, found ${location.pathname}. `,
      el("a", { href: href("jobs") }, "Go to the jobs"),
      ".",
    ),
  );
}
