// @ts-check
// Jobs side by side.
import { ApiError, get } from "../lib/api.js";
import { el, fill, rich } from "../lib/dom.js";
import { bytes, count, counted, DASH, duration, figure, secondsBetween, shortId, signed } from "../lib/format.js";
import { poll } from "../lib/live.js";
import { keep, learn, linkTo, nameOf } from "../lib/names.js";
import { note as noteQuery } from "../lib/router.js";
import { differences } from "../lib/json.js";
import { datasetsOf, helperOf, idsOf, studentText, teachersOf } from "../lib/specs.js";
import { KINDS, LOWER_IS_BETTER, MAIN_METRICS, METRICS } from "../lib/wording.js";
import { note, pageHead, plainTable, problem, section, stateBadge, verdictBadges } from "../parts/bits.js";
import { adder } from "./compare/adder.js";
import { known, paretoOf } from "./compare/quality.js";

export const title = "Compare";
const MOST = 20;

/** @typedef {{ job: any, report: any }} Entry */

/** @param {import("../lib/router.js").Place} place */
export function show({ main, query, signal }) {
  const given = (query.get("jobs") ?? "").split(",").map((each) => each.trim());
  let ids = [...new Set(given.filter(Boolean))].slice(0, MOST);
  const [chosen, body] = [el("ul", { class: "selected", "aria-label": "Compared jobs" }), el("div")];
  const change = (/** @type {string[]} */ next) => {
    ids = [...new Set(next)].slice(0, MOST);
    noteQuery({ jobs: ids.join(",") });
    live.stop();
    live = start();
  };
  /** @type {Map<string, Entry | null>} null: it is not there. */
  const had = new Map();
  const draw = async (/** @type {AbortSignal} */ within) => {
    const asked = ids.filter((id) => !had.has(id));
    const found = await Promise.allSettled(asked.map((id) => entryOf(id, within)));
    within.throwIfAborted();
    found.forEach((each, i) => each.status === "fulfilled" && had.set(asked[i], each.value));
    fill(chosen, ...ids.map((id) => chosenOf(id, had.get(id), () => change(ids.filter((each) => each !== id)))));
    const entries = ids.flatMap((id) => had.get(id) ?? []);
    await learn(entries.flatMap(({ job }) => idsOf(job.spec)));
    const parts = entries.length ? await bodyOf(entries, within) : [];
    within.throwIfAborted();
    fill(body, ...(ids.length ? parts : [el("p", { class: "empty" }, "Add jobs to compare them.")]));
    const failed = found.find((each) => each.status === "rejected");
    if (failed) throw failed.reason;
    return false;
  };
  const start = () =>
    poll(draw, { signal, onError: (error) => fill(body, problem(error, "These jobs cannot be compared")) });
  main.append(
    pageHead("Compare jobs"),
    adder(signal, (id) => change([...ids, id])),
    chosen,
    body,
  );
  let live = start();
}

/** @param {string} id @param {Entry | null | undefined} entry @param {() => void} leaveOut @returns {HTMLElement} */
function chosenOf(id, entry, leaveOut) {
  const name = entry?.job.name ?? shortId(id);
  const words = entry === null ? `${name} (deleted or unknown)` : entry ? name : `${name} (loading)`;
  const button = { type: "button", class: "plain", "aria-label": `Leave out ${name}`, onclick: leaveOut };
  return el("li", null, words, el("button", button, "×"));
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<Entry | null>} null where there is no such job. */
async function entryOf(id, signal) {
  const job = await orNull(get(`v1/jobs/${encodeURIComponent(id)}`, {}, signal));
  if (!job) return null;
  keep(job.id, job.name, job.state);
  const isMeasured = job.state === "succeeded" && ["train", "distill", "multitask"].includes(job.kind);
  const report = isMeasured ? await orNull(get(`v1/jobs/${encodeURIComponent(id)}/report`, {}, signal)) : null;
  return { job, report };
}

/** @template T @param {Promise<T>} answer @returns {Promise<T | null>} null where it is refused for good. */
async function orNull(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && !error.isTemporary) return null;
    throw error;
  }
}

/** @param {Entry[]} entries @param {AbortSignal} signal @returns {Promise<HTMLElement[]>} */
async function bodyOf(entries, signal) {
  const judged = entries.filter(({ job, report }) => report && ["distill", "multitask"].includes(job.kind));
  const parts = [section("Side by side", sideBySide(entries))];
  if (judged.length > 1) parts.push(section("Against the control", await comparisonOf(judged, signal)));
  if (entries.some(({ report }) => report))
    parts.push(section("Quality and cost", paretoOf(entries.filter(({ report }) => report))));
  if (entries.length > 1) parts.push(section("Differences of the specs", specsOf(entries)));
  return parts;
}

/** @param {Entry[]} entries @returns {HTMLElement} */
function sideBySide(entries) {
  const tasks = [...new Set(entries.flatMap(({ report }) => Object.keys(report?.student?.tasks ?? {})))];
  const row = (
    /** @type {string} */ name,
    /** @type {(entry: Entry) => import("../lib/dom.js").Children} */ cell,
  ) => /** @type {import("../lib/dom.js").Children[]} */ ([name, .../** @type {any} */ (entries.map(cell))]);
  const student = (/** @type {Entry} */ { report }) => report?.student ?? {};
  const metricRows = tasks.flatMap((task) =>
    MAIN_METRICS.filter((metric) => entries.some((entry) => known(student(entry).tasks?.[task]?.[metric]))).map(
      (metric) => {
        const values = entries.map((entry) => student(entry).tasks?.[task]?.[metric]);
        const best = bestOf(values, metric);
        return /** @type {import("../lib/dom.js").Children[]} */ ([
          `${tasks.length > 1 ? `${task}: ` : ""}${METRICS[metric] ?? metric}`,
          ...values.map((value) =>
            el(
              "span",
              {
                class: value === best && entries.length > 1 ? "best" : null,
                title: value === best ? "best" : null,
              },
              known(value) ? figure(value) : DASH,
            ),
          ),
        ]);
      },
    ),
  );
  const seconds = (/** @type {any} */ job) =>
    job.started_at && job.finished_at ? duration(secondsBetween(job.started_at, job.finished_at)) : DASH;
  return plainTable(
    "Jobs side by side, measured on test rows",
    ["", ...entries.map(({ job }) => linkTo(job.id))],
    [
      row("State", ({ job }) => stateBadge(job.state)),
      row("Kind", ({ job }) => KINDS[job.kind] ?? job.kind),
      row("Dataset", ({ job }) => datasetsOf(job.spec).map(nameOf).join(", ")),
      row(
        "Teacher",
        ({ job }) =>
          teachersOf(job.spec)
            .map((each) => (each.id ? nameOf(each.id) : each.text))
            .join(", ") || "none",
      ),
      row("Student", ({ job }) => studentText(job.spec)),
      row("Verdict", ({ job }) =>
        Object.keys(job.verdict ?? {}).length ? verdictBadges(job.verdict, helperOf(job.spec)) : DASH,
      ),
      ...metricRows,
      row("Parameters", (entry) => count(student(entry).parameters)),
      row("File size", (entry) => bytes(student(entry).bytes)),
      row("FLOPs of a row", (entry) => count(student(entry).flops)),
      row("Time of one row", (entry) => milliseconds(student(entry).latency?.["1"])),
      row("Time of 64 rows", (entry) => milliseconds(student(entry).latency?.["64"])),
      row("The job took", ({ job }) => seconds(job)),
    ],
    { isHidden: true },
  );
}

/** @param {any} latency */
function milliseconds(latency) {
  return latency ? `${figure(latency.median_ms)} ms` : DASH;
}

/** @param {any[]} values @param {string} metric */
function bestOf(values, metric) {
  const found = values.filter(known);
  return LOWER_IS_BETTER.has(metric) ? Math.min(...found) : Math.max(...found);
}

/** @param {Entry[]} entries @param {AbortSignal} signal @returns {Promise<HTMLElement>} */
async function comparisonOf(entries, signal) {
  try {
    const found = await get("v1/compare", { jobs: entries.map(({ job }) => job.id).join(",") }, signal);
    const helpers = new Map(entries.map(({ job }) => [job.id, helperOf(job.spec)]));
    const tables = Object.entries(found.tasks).map(([task, each]) => {
      const { metric, jobs } = /** @type {any} */ (each);
      const rows = jobs.map((/** @type {any} */ job) => [
        job.name ?? shortId(job.job),
        String(job.rank),
        job.method,
        figure(job.student),
        figure(job.control),
        signed(job.difference),
        job.interval ? `${signed(job.interval[0])} to ${signed(job.interval[1])}` : DASH,
        verdictBadges({ [task]: job.verdict }, helpers.get(job.job)),
      ]);
      return plainTable(
        `${task}: ${METRICS[metric] ?? metric}, the best first`,
        ["Job", "Rank", "Method", "Student", "Control", "Difference", "Interval for all together", "Verdict"],
        rows,
        { numbers: [1, 3, 4, 5, 6] },
      );
    });
    const left = Object.entries(found.not_compared).map(([task, reason]) =>
      el("p", null, `${task} is not compared: ${reason}`),
    );
    return el(
      "div",
      null,
      ...tables,
      el("p", { class: "soft" }, ...rich(found.controls.because)),
      el(
        "p",
        { class: "soft" },
        `The test rows have been looked at by ${counted(found.looks, "job")}. `,
        ...rich(found.method),
      ),
      ...left,
    );
  } catch (error) {
    if (!(error instanceof ApiError) || error.isTemporary) throw error;
    return note(
      "plain",
      el("p", null, ...rich(error.errors[0]?.detail ?? error.detail)),
      el("p", null, el("code", null, error.errors[0]?.code ?? error.code)),
    );
  }
}

/** @param {Entry[]} entries @returns {HTMLElement} */
function specsOf(entries) {
  const found = differences(entries.map(({ job }) => job.spec)).filter(({ pointer }) => pointer !== "/name");
  if (!found.length) return el("p", { class: "soft" }, "The specs are the same but for their names.");
  const value = (/** @type {any} */ each) =>
    each === undefined
      ? DASH
      : typeof each === "string" && /^(mdl|ds|job)_/.test(each)
        ? linkTo(each)
        : el("code", null, JSON.stringify(each));
  return plainTable(
    "Fields of the specs that differ",
    ["Field", ...entries.map(({ job }) => job.name ?? shortId(job.id))],
    found.map(({ pointer, values }) => [el("code", null, pointer), ...values.map(value)]),
    { isHidden: true },
  );
}
