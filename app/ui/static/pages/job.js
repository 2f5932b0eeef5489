// @ts-check
// One job, live.
import { ApiError, get } from "../lib/api.js";
import { announce, el, fill, rich } from "../lib/dom.js";
import { shortId } from "../lib/format.js";
import { follow, poll } from "../lib/live.js";
import { keep, learn } from "../lib/names.js";
import { title as setTitle } from "../lib/router.js";
import { helperOf, idsOf } from "../lib/specs.js";
import { KINDS, stateOf, TERMINAL } from "../lib/wording.js";
import { note, pageHead, problem, section, showError, stateBadge, verdictBadges, warning } from "../parts/bits.js";
import { reportOf } from "../parts/report.js";
import { actions } from "./job/actions.js";
import { Curves } from "./job/curves.js";
import { downloadsOf, factsOf, specOf } from "./job/details.js";
import { statusOf } from "./job/status.js";
import { fillEvents, fillPhases, Timeline } from "./job/timeline.js";

export const title = "Job";
const SECOND = 1000;
const TOGETHER = 200;
/** Milliseconds between two looks at an ended job, which can be deleted. */
const SELDOM = 10_000;
const PARTS = [
  ["results", "Results"],
  ["training", "Training"],
  ["events", "Events"],
  ["spec", "Spec"],
  ["downloads", "Downloads"],
];

/** @param {import("../lib/router.js").Place} place */
export function show({ main, id, signal }) {
  const page = new JobPage(main, id, signal);
  const onError = (/** @type {ApiError} */ error) => page.fail(error);
  const look = (/** @type {AbortSignal} */ within) =>
    get(`v1/jobs/${encodeURIComponent(id)}`, {}, within).then(() => undefined);
  poll(
    async (within) => {
      if (await page.update(within)) return undefined;
      poll(look, { every: SELDOM, signal, onError });
      return false;
    },
    { signal, onError },
  );
}

class JobPage {
  /** @param {HTMLElement} main @param {string} id @param {AbortSignal} signal */
  constructor(main, id, signal) {
    this.main = main;
    this.id = id;
    this.ended = new AbortController();
    this.signal = AbortSignal.any([signal, this.ended.signal]);
    /** @type {any} */
    this.job = null;
    this.timeline = new Timeline();
    this.drawing = 0;
    this.curves = new Curves(id, this.timeline, this.signal);
    this.drawn = /** @type {Record<string, string>} */ ({});
    /** @type {{ code: string, message: string }[]} */
    this.reported = [];
    const part = () => el("div");
    this.head = part();
    this.status = part();
    this.headline = part();
    this.phases = el("ol", { class: "phases" });
    this.phaseSection = section("Phases", this.phases);
    this.phaseSection.hidden = true;
    this.report = el("div", { id: "results" });
    this.onPage = el("nav", { class: "on-page", "aria-label": "On this page" });
    this.events = part();
    this.facts = part();
    this.warnings = part();
    this.downloads = part();
    this.spec = el("div", { class: "spec" });
  }

  /** @param {AbortSignal} within @returns {Promise<boolean>} Whether to go on. */
  async update(within) {
    const job = await get(`v1/jobs/${encodeURIComponent(this.id)}`, {}, within);
    keep(job.id, job.name, job.state);
    await learn(idsOf(job.spec));
    const before = this.job;
    if (!before) this._build(job);
    else if (before.state !== job.state) announce(`The job is ${stateOf(job.state).word}`);
    this._show(job);
    const isOver = TERMINAL.has(job.state);
    if (isOver) await this._end(within);
    return !isOver;
  }

  /** @param {ApiError} error */
  fail(error) {
    if (!this.job) {
      showError(this.main, error, "This job cannot be shown");
      return;
    }
    this.ended.abort();
    const isGone = error.status === 404;
    if (isGone) announce("The job was deleted");
    fill(
      this.status,
      isGone
        ? note(
            "bad",
            el("p", null, "This job was deleted while you were looking at it. What you see is what it was last."),
          )
        : problem(error),
    );
    for (const button of this.head.querySelectorAll("button")) button.disabled = true;
    this.downloads.replaceChildren();
  }

  /** @param {any} job */
  _build(job) {
    this.main.append(
      this.head,
      this.status,
      this.headline,
      this.onPage,
      el(
        "div",
        { class: "columns" },
        el(
          "div",
          null,
          this.phaseSection,
          this.report,
          this.curves.node,
          el("div", { id: "events" }, section("Events", this.events)),
          el("div", { id: "spec" }, section("Spec", this.spec)),
        ),
        el(
          "aside",
          { "aria-label": "About this job" },
          section("About", this.facts),
          this.warnings,
          el("div", { id: "downloads" }, section("Downloads", this.downloads)),
        ),
      ),
    );
    this.job = job;
    follow(this.id, {
      signal: this.signal,
      onEvents: (events) => this._add(events),
      isEnded: () => TERMINAL.has(this.job.state),
      onError: (error) => error.status === 404 && this.fail(error),
    });
    this.curves.begin(job, () => TERMINAL.has(this.job.state));
    const clock = setInterval(
      () => !document.hidden && !TERMINAL.has(this.job.state) && fillPhases(this.phases, this.timeline, this.job),
      SECOND,
    );
    this.signal.addEventListener("abort", () => clearInterval(clock));
  }

  /** Links to the parts that there are. */
  _showLinks() {
    const there = PARTS.filter(([id]) =>
      id === "results" ? this.report.firstChild : id !== "training" || this.curves.isShown,
    );
    this._once("links", there, () =>
      fill(this.onPage, ...there.map(([id, word]) => el("a", { href: `#${id}` }, word))),
    );
  }

  /** @param {any[]} events Of a long job there are many at first: they are drawn together. */
  _add(events) {
    this.timeline.add(events);
    this.drawing ||= window.setTimeout(() => this._draw(), TOGETHER);
  }

  _draw() {
    this.drawing = 0;
    if (this.signal.aborted) return;
    const { events, progress } = this.timeline;
    if (progress && !TERMINAL.has(this.job.state)) this.job.progress = { ...this.job.progress, ...progress };
    this._showStatus(this.job);
    this._once("events", events.length, () => fillEvents(this.events, this.timeline, this.job));
    this._showWarnings();
    fillPhases(this.phases, this.timeline, this.job);
    this.phaseSection.hidden = !this.timeline.stretches().length;
    this.curves.nudge();
    this._showLinks();
  }

  /**
   * Draw a part where what it shows has changed.
   * @param {string} name
   * @param {unknown} key
   * @param {() => void} draw
   */
  _once(name, key, draw) {
    const text = JSON.stringify(key) ?? "";
    if (this.drawn[name] === text) return;
    this.drawn[name] = text;
    draw();
  }

  /** @param {any} job */
  _show(job) {
    this.job = job;
    const name = job.name ?? shortId(job.id);
    setTitle(`${name}, ${stateOf(job.state).word}`);
    const { progress, ...rest } = job;
    this._once("head", [job.name, job.state, job.checkpoint, job.verdict], () =>
      fill(
        this.head,
        pageHead(
          name,
          [
            stateBadge(job.state),
            el("span", null, KINDS[job.kind] ?? job.kind),
            ...verdictBadges(job.verdict, helperOf(job.spec)),
          ],
          actions(job, (changed) => this._show(changed)),
        ),
      ),
    );
    this._once("facts", rest, () => fill(this.facts, factsOf(job)));
    this._once("downloads", [job.state, job.student], () => fill(this.downloads, downloadsOf(job)));
    this._once("spec", job.spec, () => fill(this.spec, ...specOf(job.spec)));
    this._showStatus(job);
    this._showLinks();
    fillPhases(this.phases, this.timeline, job);
  }

  /** @param {any} job */
  _showStatus(job) {
    this._once("status", [job.state, job.error, job.progress, !job.checkpoint], () =>
      fill(this.status, ...statusOf(job)),
    );
  }

  _showWarnings() {
    const all = [...this.reported, ...this.timeline.warnings()];
    const each = all.filter(
      (one, i) => all.findIndex((other) => other.code === one.code && other.message === one.message) === i,
    );
    this._once("warnings", each, () =>
      fill(
        this.warnings,
        each.length
          ? section(
              "Warnings",
              el(
                "ul",
                { class: "plain" },
                ...each.map(({ code, message }) => el("li", null, warning({ code, message }))),
              ),
            )
          : null,
      ),
    );
  }

  /** @param {AbortSignal} within */
  async _end(within) {
    await this.curves.finish(within);
    if (this.job.state !== "succeeded" || this.job.kind === "inspect") return;
    const [{ headline, node }, report] = await Promise.all([
      reportOf(this.id, within, { without: this.curves.titles }),
      get(`v1/jobs/${encodeURIComponent(this.id)}/report`, {}, within),
    ]);
    fill(this.headline, headline ? note(this._tone(), el("p", { class: "headline" }, ...rich(headline))) : null);
    fill(this.report, node);
    this._showLinks();
    this.reported = report.warnings ?? [];
    this._showWarnings();
  }

  _tone() {
    const words = Object.values(this.job.verdict ?? {});
    if (words.some((word) => /** @type {string} */ (word).endsWith("loss"))) return "bad";
    return words.length &&
      words.every((word) => /** @type {string} */ (word).endsWith("gain") && word !== "no_gain")
      ? "good"
      : "plain";
  }
}
