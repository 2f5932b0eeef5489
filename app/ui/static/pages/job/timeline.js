// @ts-check
// What happened to a job: phases with their times, warnings, events.
import { el, fill } from "../../lib/dom.js";
import { count, counted, duration, secondsBetween, timeOf } from "../../lib/format.js";
import { hasPhase } from "../../parts/bits.js";
import { PHASES, stateOf, TERMINAL } from "../../lib/wording.js";

/** @typedef {any} Event */

const MOST_EVENTS = 200;
const MOST_SPEEDS = 500;
/** Shorter, a time is written as 0 s. */
const LEAST_SECONDS = 0.05;

/** Collects the events of a job. Of progress, of which there are many, the training speed alone is kept, thinned. */
export class Timeline {
  constructor() {
    /** @type {Event[]} */
    this.events = [];
    /** @type {import("../../lib/series.js").Point[]} */
    this.speeds = [];
    /** @type {any} */
    this.progress = null;
  }

  /** @param {Event[]} events */
  add(events) {
    for (const event of events) {
      if (event.type !== "progress") {
        this.events.push(event);
        continue;
      }
      this.progress = event.data;
      const { step, epoch, samples_per_second: value } = event.data;
      if (value !== null && value !== undefined && step > (this.speeds.at(-1)?.step ?? -1))
        this.speeds.push({ step, epoch, time: event.time, value });
    }
    if (this.speeds.length > 2 * MOST_SPEEDS)
      this.speeds = this.speeds.filter((_, i) => i % 2 === 0 || i === this.speeds.length - 1);
  }

  /** @returns {{ code: string, message: string }[]} Warnings, each once. */
  warnings() {
    const found = this.events.filter((event) => event.type === "warning").map((event) => event.data);
    return found.filter(
      (each, i) => found.findIndex((other) => other.code === each.code && other.message === each.message) === i,
    );
  }

  /** @returns {{ name: string, phase: string, time: string, end: string | null }[]} Stretches of time: waiting, phases, breaks. */
  stretches() {
    const named = this.events.flatMap((event) => {
      if (event.type === "phase")
        return [
          {
            name: PHASES[event.data.phase] ?? event.data.phase,
            phase: event.data.phase,
            time: event.time,
            isEnd: false,
          },
        ];
      if (event.type === "state" && event.data.state !== "running")
        return [
          {
            name: stateOf(event.data.state).word,
            phase: "",
            time: event.time,
            isEnd: TERMINAL.has(event.data.state),
          },
        ];
      return [];
    });
    return named.map((each, i) => ({ ...each, end: named[i + 1]?.time ?? null })).filter((each) => !each.isEnd);
  }
}

/**
 * Show the phases in an element that is a list.
 * @param {HTMLElement} list
 * @param {Timeline} timeline
 * @param {any} job
 */
export function fillPhases(list, timeline, job) {
  const all = timeline
    .stretches()
    .filter(
      ({ phase, time, end }) =>
        hasPhase(job, phase) && !(phase === "teaching" && end && secondsBetween(time, end) < LEAST_SECONDS),
    );
  const isOver = TERMINAL.has(job.state);
  fill(
    list,
    ...all.map((each, i) => {
      const isNow = i === all.length - 1 && !isOver;
      const seconds = secondsBetween(each.time, each.end ?? (isOver ? job.finished_at : null));
      return el(
        "li",
        { "aria-current": isNow ? "step" : null },
        el("strong", null, capital(each.name)),
        el("span", null, isNow ? `${duration(seconds)} so far` : duration(seconds)),
      );
    }),
  );
}

/** @param {string} text */
function capital(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** @param {HTMLElement} place @param {Timeline} timeline @param {any} job Show the newest events. */
export function fillEvents(place, timeline, job) {
  const all = timeline.events.filter(({ type, data }) => type !== "phase" || hasPhase(job, data.phase));
  const shown = all.slice(-MOST_EVENTS).reverse();
  const rows = shown.map((event) =>
    el(
      "tr",
      null,
      el("td", { class: "narrow" }, timeOf(event.time)),
      el("td", { class: "narrow" }, event.type),
      el("td", null, wordsOf(event)),
    ),
  );
  fill(
    place,
    el(
      "div",
      { class: "scroll events", tabindex: 0, role: "region", "aria-label": "Events" },
      el(
        "table",
        null,
        el("caption", { class: "unseen" }, "Events, newest first"),
        el(
          "thead",
          null,
          el("tr", null, ...["Time", "Event", "What happened"].map((each) => el("th", { scope: "col" }, each))),
        ),
        el("tbody", null, ...rows),
      ),
    ),
    all.length > shown.length
      ? el("p", { class: "soft" }, `The newest ${shown.length} of ${counted(all.length, "event")}.`)
      : null,
  );
}

/** @param {Event} event @returns {string} */
function wordsOf({ type, data }) {
  switch (type) {
    case "phase":
      return PHASES[data.phase] ?? data.phase;
    case "checkpoint":
      return `checkpoint after step ${count(data.step)}`;
    case "warning":
      return `${data.code}: ${data.message}`;
    case "state": {
      const { state, attempt, ...rest } = data;
      const details = Object.entries(rest)
        .filter(([, value]) => value !== null)
        .map(
          ([name, value]) =>
            `${name} ${typeof value === "object" ? (value.message ?? JSON.stringify(value)) : value}`,
        );
      return [stateOf(state).word, attempt > 1 ? `attempt ${attempt}` : "", ...details].filter(Boolean).join(", ");
    }
    default:
      return JSON.stringify(data);
  }
}
