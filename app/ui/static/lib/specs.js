// @ts-check
// What a job's spec says, in a few words, and as programs that submit it again.
import { address } from "./api.js";
import { pretty } from "./json.js";

/** @typedef {any} Spec */

/** @param {Spec} spec @returns {Spec} The training job of a preflight, else the spec itself. */
function innerSpec(spec) {
  return spec?.kind === "preflight" ? spec.job : spec;
}

/** @param {Spec} spec @returns {string[]} Ids of its datasets. */
export function datasetsOf(spec) {
  const { dataset, datasets } = innerSpec(spec) ?? {};
  return dataset ? [dataset] : (datasets ?? []).map((/** @type {Spec} */ each) => each.dataset);
}

/** @param {Spec} spec @returns {{ id: string | null, text: string }[]} Its teachers: a model, a job, predictions, or columns by their name. */
export function teachersOf(spec) {
  const { teachers, tasks } = innerSpec(spec) ?? {};
  const all = [...(teachers ?? []), ...(tasks ?? []).flatMap((/** @type {Spec} */ task) => task.teachers ?? [])];
  const found = all.map((each) => ({
    id: each.model ?? each.job ?? each.predictions ?? null,
    text: each.columns ? `columns ${each.columns}` : "",
  }));
  return found.filter(
    (each, i) => found.findIndex((other) => other.id === each.id && other.text === each.text) === i,
  );
}

/** @param {Spec} spec @returns {string} What is to help its student, for sentences. */
export function helperOf(spec) {
  if (teachersOf(spec).length) return "the teacher";
  const { mutual, kind } = innerSpec(spec) ?? {};
  return mutual ? "learning with peers" : kind === "multitask" ? "training together" : "the teacher";
}

/** @param {Spec} spec @returns {string[]} Ids that it names. */
export function idsOf(spec) {
  return [...datasetsOf(spec), ...teachersOf(spec).flatMap((each) => (each.id ? [each.id] : []))];
}

/** @param {Spec} network @returns {string} A network in a few words: `mlp 256, 256`. */
export function networkText(network) {
  if (!network) return "";
  if (network.model) return "network of a model";
  if (network.from_teacher) return "layers of the teacher";
  const { family } = network;
  switch (family) {
    case "mlp":
      return network.hidden?.length ? `mlp ${network.hidden.join(", ")}` : "linear";
    case "convnet":
      return `convnet ${(network.channels ?? []).join(", ")}`;
    case "resnet":
      return `resnet${network.depth ?? 20}${(network.width ?? 1) > 1 ? `x${network.width}` : ""}`;
    case "transformer":
      return `transformer ${network.width} wide, ${network.depth ?? 2} deep`;
    default:
      return [family, network.name].filter(Boolean).join(" ");
  }
}

/** @param {Spec} spec @returns {string} The network that it trains. */
export function studentText(spec) {
  const inner = innerSpec(spec);
  return networkText(inner?.student ?? inner?.model);
}

/** @param {Spec} spec @returns {string[]} Names of the targets or tasks. */
export function tasksOf(spec) {
  const inner = innerSpec(spec);
  return inner?.tasks
    ? inner.tasks.map((/** @type {Spec} */ task) => task.name)
    : inner?.target
      ? [inner.target]
      : [];
}

/** @param {Spec} spec @returns {string} */
export function asJson(spec) {
  return pretty(spec).text;
}

/** @param {Spec} spec @returns {string} A command for a shell; the key comes from its variable KEY. */
export function asCurl(spec) {
  const body = asJson(spec).replaceAll("'", "'\\''");
  return `curl -sS --fail-with-body ${address("v1/jobs")} \\\n  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\\n  -d '${body}'\n`;
}

/** @param {Spec} spec @returns {string} A program with the Python client; the key comes from the variable KEY. */
export function asPython(spec) {
  const base = address("").replace(/\/$/, "");
  return `import os\n\nfrom stillhouse import Client\n\nclient = Client(${JSON.stringify(base)}, key=os.environ["KEY"])\njob = client.jobs.submit(${python(spec, "")})\n`;
}

/** @param {any} value @param {string} indent @returns {string} A value as Python writes it. */
function python(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const written = entries.map(
    ([name, each]) => `${Array.isArray(value) ? "" : `${JSON.stringify(name)}: `}${python(each, `${indent}    `)}`,
  );
  const line = `${open}${written.join(", ")}${close}`;
  if (line.length < 80 && !line.includes("\n")) return line;
  return `${open}\n${written.map((each) => `${indent}    ${each},\n`).join("")}${indent}${close}`;
}
