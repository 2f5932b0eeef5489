// @ts-check
// Jobs side by side.
import { ApiError, get } from "../lib/api.js";
import { el, fill, newId, rich } from "../lib/dom.js";
import { bytes, count, counted, DASH, duration, figure, secondsBetween, shortId, signed } from "../lib/format.js";
import { keep, learn, linkTo, nameOf } from "../lib/names.js";
import { note as noteQuery } from "../lib/router.js";
import { differences } from "../lib/json.js";
import { datasetsOf, idsOf, studentText, teachersOf } from "../lib/specs.js";
import { KINDS, LOWER_IS_BETTER, MAIN_METRICS, METRICS } from "../lib/wording.js";
import { note, pageHead, plainTable, problem, section, stateBadge, verdictBadges } from "../parts/bits.js";
import { known, paretoOf } from "./compare/quality.js";

export const title = "Compare";
const MOST = 20;

/** @typedef {{ job: any, report: any }} Entry */

/** @param {import("../lib/router.js").Place} place */
export async function show({ main, query, signal }) {
  let ids = (query.get("jobs") ?? "")
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean);
  const [chosen, body] = [el("ul", { class: "selected", "aria-label": "Compared jobs" }), el("div")];
  const change = (/** @type {string[]} */ next) => {
    ids = [...new Set(next)].slice(0, MOST);
    noteQuery({ jobs: ids.join(",") });
    return draw();
  };
  const draw = async () => {
    try {
      const entries = await Promise.all(ids.map((id) => entryOf(id, signal)));
      await learn(entries.flatMap(({ job }) => idsOf(job.spec)));
      fill(
        chosen,
        ...entries.map(({ job }) =>
          el(
            "li",
            null,
            job.name ?? shortId(job.id),
            el(
              "button",
              {
                type: "button",
                class: "plain",
                "aria-label": `Leave out ${job.name ?? shortId(job.id)}`,
                onclick: () => change(ids.filter((each) => each !== job.id)),
              },
              "×",
            ),
          ),
        ),
      );
      fill(
        body,
        ...(entries.length
          ? await bodyOf(entries, signal)
          : [el("p", { class: "empty" }, "Add jobs to compare them.")]),
      );
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      fill(body, problem(error, "These jobs cannot be compared"));
    }
  };
  main.append(
    pageHead("Compare jobs"),
    adder(signal, (id) => change([...ids, id])),
    chosen,
    body,
  );
  await draw();
}

/** @param {AbortSignal} signal @param {(id: string) => void} onAdd @returns {HTMLElement} A field that finds jobs by name or id. */
function adder(signal, onAdd) {
  const [id, list] = [newId("add"), newId("jobs")];
  const options = el("datalist", { id: list });
  const input = el("input", { id, type: "search", list, autocomplete: "off", spellcheck: "false" });
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    if (/^job_[0-9a-f-]{36}$/.test(input.value.trim())) {
      onAdd(input.value.trim());
      input.value = "";
      return;
    }
    timer = window.setTimeout(async () => {
      const { data } = await get("v1/jobs", { text: input.value.trim(), limit: 20 }, signal).catch(() => ({
        data: [],
      }));
      fill(
        options,
        ...data.map((/** @type {any} */ job) =>
          el(
            "option",
            { value: job.id },
            `${job.name ?? shortId(job.id)}, ${KINDS[job.kind] ?? job.kind}, ${job.state}`,
          ),
        ),
      );
    }, 250);
  });
  return el(
    "form",
    { class: "filters", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    el("label", { for: id }, "Add a job by name or id", input),
    options,
  );
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<Entry>} */
async function entryOf(id, signal) {
  const job = await get(`v1/jobs/${id}`, {}, signal);
  keep(job.id, job.name, job.state);
  const isMeasured = job.state === "succeeded" && ["train", "distill", "multitask"].includes(job.kind);
  return { job, report: isMeasured ? await get(`v1/jobs/${id}/report`, {}, signal) : null };
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
      row("Verdict", ({ job }) => (Object.keys(job.verdict ?? {}).length ? verdictBadges(job.verdict) : DASH)),
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
        verdictBadges({ [task]: job.verdict }),
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
