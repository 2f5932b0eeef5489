// @ts-check
// Facts, spec and downloads of a job.
import { address } from "../../lib/api.js";
import { copy, el } from "../../lib/dom.js";
import { count, duration, secondsBetween, timeOf } from "../../lib/format.js";
import { without } from "../../lib/json.js";
import { linkTo } from "../../lib/names.js";
import { asCurl, asJson, asPython, datasetsOf, studentText, tasksOf, teachersOf } from "../../lib/specs.js";
import { KINDS } from "../../lib/wording.js";
import { facts } from "../../parts/bits.js";

/** @param {any} job @returns {HTMLElement} */
export function factsOf(job) {
  return facts([
    ["Kind", KINDS[job.kind] ?? job.kind],
    ["Dataset", datasetsOf(job.spec).map((id) => el("div", null, linkTo(id)))],
    ["Teacher", teachersOf(job.spec).map((each) => el("div", null, each.id ? linkTo(each.id) : each.text))],
    ["Student", studentText(job.spec)],
    ["Targets", tasksOf(job.spec).join(", ")],
    ["Made", job.outputs.map((/** @type {any} */ each) => el("div", null, linkTo(each.model), ` (${each.role})`))],
    ["Created", timeOf(job.created_at)],
    ["Started", job.started_at ? timeOf(job.started_at) : null],
    [
      "Ended",
      job.finished_at
        ? [
            timeOf(job.finished_at),
            job.started_at ? ` after ${duration(secondsBetween(job.started_at, job.finished_at))}` : "",
          ]
        : null,
    ],
    ["Device", job.device],
    ["Attempts", job.attempt > 1 ? count(job.attempt) : null],
    ["Crashes", job.crashes ? count(job.crashes) : null],
    ["Priority", job.priority || null],
    ["Checkpoint", job.checkpoint ? `step ${count(job.checkpoint.step)}` : null],
    ["Retry of", job.retry_of ? linkTo(job.retry_of) : null],
    [
      "Labels",
      Object.entries(job.labels).map(([name, value]) =>
        el("span", { class: "tag" }, value ? `${name}=${value}` : name),
      ),
    ],
    [
      "Id",
      [
        el("code", null, job.id),
        el("button", { type: "button", class: "plain", onclick: () => copy(job.id, "the id") }, "Copy"),
      ],
    ],
  ]);
}

/** @param {any} full @returns {HTMLElement[]} */
export function specOf(full) {
  const spec = without(full);
  const button = (/** @type {string} */ word, /** @type {() => string} */ text) =>
    el("button", { type: "button", onclick: () => copy(text(), `the spec as ${word}`) }, `Copy as ${word}`);
  return [
    el(
      "div",
      { class: "copying" },
      button("JSON", () => asJson(spec)),
      button("curl", () => asCurl(spec)),
      button("Python", () => asPython(spec)),
    ),
    el("pre", { tabindex: 0, role: "region", "aria-label": "The spec as JSON" }, asJson(spec)),
  ];
}

/** @param {any} job @returns {HTMLElement} */
export function downloadsOf(job) {
  const base = `v1/jobs/${encodeURIComponent(job.id)}`;
  const file = (
    /** @type {string} */ name,
    /** @type {string} */ path,
    /** @type {any} */ query,
    /** @type {string} */ target,
    hint = "",
  ) =>
    el(
      "li",
      null,
      el("a", { href: address(path, query), download: target }, name),
      hint ? el("small", { class: "soft" }, hint) : null,
    );
  const isDone = job.state === "succeeded";
  const short = (job.name ?? job.id).replaceAll(/[^\w.-]+/g, "-");
  const model = job.student ? `v1/models/${encodeURIComponent(job.student)}` : "";
  return el(
    "ul",
    { class: "downloads" },
    model ? file("Student, safetensors", `${base}/student/weights`, {}, `${short}.safetensors`) : null,
    model
      ? file(
          "Student, ONNX",
          `${model}/weights`,
          { format: "onnx", wait: 60 },
          `${short}.onnx`,
          "Takes rows as uploaded. It is made first where the job made none.",
        )
      : null,
    model
      ? file(
          "Bundle",
          `${model}/bundle`,
          { wait: 60 },
          `${short}.zip`,
          "Graph, weights, model card, and a program that needs numpy and ONNX Runtime alone.",
        )
      : null,
    isDone && model
      ? file("Predictions on the test rows, npz", `${base}/predictions`, { split: "test" }, `${short}-test.npz`)
      : null,
    file("Metrics, CSV", `${base}/metrics`, { format: "csv" }, `${short}-metrics.csv`),
    isDone
      ? el(
          "li",
          null,
          el(
            "a",
            { href: address(`${base}/report`, { format: "html" }), target: "_blank", rel: "noopener" },
            "Report, to print (new tab)",
          ),
        )
      : null,
    isDone ? file("Report, HTML", `${base}/report`, { format: "html" }, `${short}.html`) : null,
    isDone ? file("Report, Markdown", `${base}/report`, { format: "markdown" }, `${short}.md`) : null,
    isDone ? file("Report, text", `${base}/report`, { format: "text" }, `${short}.txt`) : null,
    isDone ? file("Report, JSON", `${base}/report`, {}, `${short}.json`) : null,
  );
}
