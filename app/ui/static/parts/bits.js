// @ts-check
// Small pieces that many pages show.
import { ApiError } from "../lib/api.js";
import { el, newId, rich } from "../lib/dom.js";
import { count, duration, secondsBetween, share } from "../lib/format.js";
import { teachersOf } from "../lib/specs.js";
import { PHASES, stateOf, TERMINAL, verdictOf } from "../lib/wording.js";

/** @typedef {import("../lib/dom.js").Child} Child */
/** @typedef {import("../lib/dom.js").Children} Children */

/** @param {string} state @returns {HTMLElement} */
export function stateBadge(state) {
  const { word, tone, meaning } = stateOf(state);
  return el("span", { class: "state", "data-tone": tone, title: meaning }, word);
}

/** @param {Record<string, string> | null | undefined} verdicts By task. @param {string} [helper] @returns {HTMLElement[]} */
export function verdictBadges(verdicts, helper) {
  const entries = Object.entries(verdicts ?? {});
  return entries.slice(0, 4).map(([task, verdict]) => {
    const { word, tone, meaning } = verdictOf(verdict, helper);
    const name = entries.length > 1 ? `${task}: ` : "";
    return el("div", { class: "verdict", "data-tone": tone, title: meaning }, `${name}${word}`);
  });
}

/**
 * How far a job is: a bar with words.
 * @param {any} job
 * @returns {HTMLElement | string}
 */
export function progressOf(job) {
  const { percent = 0, phase, eta_seconds: eta } = job.progress ?? {};
  if (TERMINAL.has(job.state)) {
    const took = job.started_at ? `took ${duration(secondsBetween(job.started_at, job.finished_at))}` : "";
    return el(
      "small",
      { class: "soft" },
      [job.state === "succeeded" ? "" : `${Math.round(percent)} %`, took].filter(Boolean).join(", "),
    );
  }
  if (job.state === "queued" && !percent) return "";
  const words = [
    `${Math.floor(percent)} %`,
    phase && hasPhase(job, phase) ? (PHASES[phase] ?? phase) : "",
    eta && phase === "training" ? `${duration(eta)} left` : "",
  ];
  return el(
    "div",
    { class: "progress" },
    el(
      "div",
      {
        class: "track",
        role: "progressbar",
        "aria-label": "Training",
        "aria-valuenow": Math.floor(percent),
        "aria-valuemin": 0,
        "aria-valuemax": 100,
      },
      el("i", { style: { width: `${percent}%` } }),
    ),
    el("small", null, words.filter(Boolean).join(", ")),
  );
}

/** @param {any} job @param {string} phase @returns {boolean} Whether a phase is one of this job: those without teachers pass it too. */
export function hasPhase(job, phase) {
  return phase !== "teaching" || teachersOf(job.spec).length > 0;
}

/**
 * A remark with a tone: bad, warn, good or plain.
 * @param {string} tone
 * @param {...Children} children
 * @returns {HTMLElement}
 */
export function note(tone, ...children) {
  return el("div", { class: "note", "data-tone": tone }, ...children);
}

/** @param {{ code: string, message: string, targets?: string[] }} found @returns {HTMLElement} A warning of the service. */
export function warning({ code, message, targets = [] }) {
  return note(
    "warn",
    el("p", null, ...rich(message)),
    el("p", null, el("code", null, code), targets.length ? ` ${targets.join(", ")}` : ""),
  );
}

/** @param {ApiError} error @param {string} [what] @returns {HTMLElement} What went wrong, with the way out and the stable code. */
export function problem(error, what) {
  return el(
    "div",
    { class: "note", "data-tone": "bad", role: "alert" },
    what ? el("p", null, el("strong", null, what)) : null,
    el("p", null, ...rich(error.detail), " ", el("code", null, error.code)),
    error.errors.length
      ? el(
          "ul",
          null,
          ...error.errors.map((each) =>
            el("li", null, el("code", null, each.pointer || "/"), " ", ...rich(each.detail)),
          ),
        )
      : null,
  );
}

/**
 * Names with values; those without a value are left out.
 * @param {[string, Children][]} entries
 * @returns {HTMLElement}
 */
export function facts(entries) {
  const given = entries.filter(
    ([, value]) =>
      value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length),
  );
  return el(
    "dl",
    { class: "facts" },
    ...given.flatMap(([name, value]) => [el("dt", null, name), el("dd", null, ...[value].flat())]),
  );
}

/**
 * A section with a heading, which links of the page can name by `section.querySelector("h2").id`.
 * @param {string} title
 * @param {...Children} children
 * @returns {HTMLElement}
 */
export function section(title, ...children) {
  const id = newId("section");
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), ...children);
}

/**
 * The head of a page.
 * @param {Children} title
 * @param {Children} meta
 * @param {Children} actions
 * @returns {HTMLElement}
 */
export function pageHead(title, meta = null, actions = null) {
  return el(
    "div",
    { class: "page-head" },
    el(
      "div",
      null,
      el("h1", null, ...[title].flat()),
      meta ? el("div", { class: "meta" }, ...[meta].flat()) : null,
    ),
    actions ? el("div", { class: "actions" }, ...[actions].flat()) : null,
  );
}

/**
 * A plain table that is not updated.
 * @param {string} caption
 * @param {Children[]} head
 * @param {Children[][]} rows
 * @param {{ numbers?: number[], isHidden?: boolean }} [options] `numbers`: columns of numbers; the first column names the row.
 * @returns {HTMLElement}
 */
export function plainTable(caption, head, rows, { numbers = [], isHidden = false } = {}) {
  const cell = (
    /** @type {"td" | "th"} */ tag,
    /** @type {Children} */ content,
    /** @type {number} */ i,
    /** @type {any} */ props,
  ) => el(tag, { class: numbers.includes(i) ? "number" : null, ...props }, ...[content].flat());
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el(
      "table",
      null,
      el("caption", { class: isHidden ? "unseen" : null }, caption),
      el("thead", null, el("tr", null, ...head.map((each, i) => cell("th", each, i, { scope: "col" })))),
      el(
        "tbody",
        null,
        ...rows.map((row) =>
          el("tr", null, ...row.map((each, i) => cell(i ? "td" : "th", each, i, i ? null : { scope: "row" }))),
        ),
      ),
    ),
  );
}

/**
 * Shares of a whole as bars, with their numbers in words.
 * @param {[string, number][]} entries
 * @param {{ most?: number, words?: (value: number) => string }} [options]
 * @returns {HTMLElement}
 */
export function bars(entries, { most, words = count } = {}) {
  const largest = (most ?? Math.max(...entries.map(([, value]) => value))) || 1;
  return el(
    "div",
    { class: "bars", role: "list" },
    ...entries.flatMap(([name, value]) => [
      el("span", { title: name, role: "listitem", "aria-label": `${name}: ${words(value)}` }, name),
      el(
        "div",
        { class: "bar", "aria-hidden": "true" },
        el("i", { style: { width: `${Math.max(0, (100 * value) / largest)}%` } }),
      ),
      el("span", { "aria-hidden": "true" }, words(value)),
    ]),
  );
}

/** @param {number} busy @param {number} total @param {string} words @returns {HTMLElement} A share with its numbers. */
export function meter(busy, total, words) {
  const part = total ? busy / total : 0;
  return el(
    "div",
    { class: "progress" },
    el(
      "div",
      { class: "track", role: "img", "aria-label": `${words}, ${share(part)}` },
      el("i", { style: { width: `${100 * part}%` } }),
    ),
    el("small", null, words),
  );
}

/**
 * A page for what is not there, or cannot be shown.
 * @param {HTMLElement} main
 * @param {ApiError} error
 * @param {string} what
 */
export function showError(main, error, what) {
  main.replaceChildren(pageHead(what), problem(error));
}
