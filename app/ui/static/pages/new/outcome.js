// @ts-check
// What a dry run found: the size of the student, what was chosen, warnings, or problems.
import { el, rich } from "../../lib/dom.js";
import { count, counted } from "../../lib/format.js";
import { asJson } from "../../lib/specs.js";
import { facts, note, warning } from "../../parts/bits.js";

/** @param {any} found @param {any} spec @returns {HTMLElement} */
export function dryRunOf(found, spec) {
  const chosen = Object.entries(found.chosen).map(([pointer, each]) => chosenOf(pointer, each));
  return el(
    "div",
    null,
    note(
      found.warnings.length ? "warn" : "good",
      el(
        "p",
        null,
        el(
          "strong",
          null,
          found.warnings.length
            ? `It can be submitted, with ${counted(found.warnings.length, "warning")}.`
            : "It can be submitted.",
        ),
      ),
      found.complete
        ? null
        : el("p", null, "An input is still being inspected or trained: the rest is checked once it is ready."),
    ),
    facts([
      [spec.kind === "train" ? "Parameters" : "Parameters of the student", count(found.parameters)],
      ["FLOPs of a row", count(found.flops)],
      ["Test rows looked at", found.test_looks ? `by ${counted(found.test_looks, "job")} before` : "by no job yet"],
    ]),
    found.warnings.length ? el("div", null, el("h2", null, "Warnings"), ...found.warnings.map(warning)) : null,
    chosen.length
      ? el("div", null, el("h2", null, "Chosen for you"), el("ul", { class: "plain" }, ...chosen))
      : null,
    el(
      "details",
      { class: "spec" },
      el("summary", null, "The spec with every default"),
      el("pre", { tabindex: 0, role: "region", "aria-label": "The resolved spec" }, asJson(found.spec)),
    ),
  );
}

/** @param {string} pointer @param {any} chosen @returns {HTMLElement} A value that was left out, and why it is what it is. */
function chosenOf(pointer, { value, because }) {
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return el(
    "li",
    null,
    el("code", null, pointer),
    " ",
    el("strong", null, text),
    el("div", { class: "soft" }, ...rich(because)),
  );
}

/**
 * The problems of a spec, each with a way to its field.
 * @param {import("../../lib/api.js").ApiError} error
 * @param {(pointer: string) => void} goTo
 * @returns {HTMLElement}
 */
export function problemList(error, goTo) {
  return el(
    "div",
    { class: "note", "data-tone": "bad", role: "alert" },
    el(
      "p",
      null,
      el("strong", null, `${counted(error.errors.length, "problem")} to solve before it can be submitted`),
    ),
    el(
      "ul",
      null,
      ...error.errors.map((each) =>
        el(
          "li",
          null,
          el(
            "button",
            { type: "button", class: "plain", onclick: () => goTo(each.pointer) },
            each.pointer || "the whole spec",
          ),
          " ",
          ...rich(each.detail),
          " ",
          el("code", null, each.code),
        ),
      ),
    ),
  );
}
