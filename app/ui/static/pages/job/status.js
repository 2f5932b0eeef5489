// @ts-check
// What a job does at the moment, and what went wrong.
import { el, rich } from "../../lib/dom.js";
import { count, duration, share } from "../../lib/format.js";
import { stateOf, TERMINAL } from "../../lib/wording.js";
import { note, progressOf } from "../../parts/bits.js";

const WAITING = 0.05;

/** @param {any} job @returns {(HTMLElement | null)[]} */
export function statusOf(job) {
  const isOver = TERMINAL.has(job.state);
  const speed = speedOf(job.progress).map((each) => el("span", null, each));
  return [
    job.error ? errorOf(job.error, isOver ? job.state : null) : null,
    isOver
      ? null
      : note("plain", el("p", null, meaningOf(job)), progressOf(job), el("div", { class: "meta" }, ...speed)),
  ];
}

/** @param {any} job @returns {string} */
function meaningOf({ state, checkpoint }) {
  if (state === "paused" && !checkpoint) return "It waits until you resume it.";
  return stateOf(state).meaning ?? "";
}

/** @param {any} error @param {string | null} ended The last state; null of a job that goes on. @returns {HTMLElement} */
function errorOf(error, ended) {
  const way =
    error.class === "infrastructure"
      ? "A worker or its machine failed: a retry may succeed."
      : "The input must change: a retry by the same spec would fail in the same way.";
  const what = ended
    ? `The job ${ended === "failed" ? "failed" : `was ${stateOf(ended).word}`}. `
    : "The latest attempt broke off. ";
  return note(
    ended ? "bad" : "warn",
    el("p", null, el("strong", null, what), ...rich(error.message)),
    el("p", null, el("code", null, error.code), " ", ended ? way : "It is tried again by itself."),
  );
}

/** @param {any} progress @returns {string[]} How fast a job trains, in words. */
function speedOf({ samples_per_second: speed, eta_seconds: eta, epoch, epochs, input_wait: waiting }) {
  return [
    epochs ? `epoch ${count(epoch)} of ${count(epochs)}` : "",
    speed ? `${count(Math.round(speed))} rows/s` : "",
    eta ? `training ends in ${duration(eta)}` : "",
    waiting > WAITING ? `waits for rows ${share(waiting)} of the time` : "",
  ].filter(Boolean);
}
