// @ts-check
// Specs as the form begins with them, and as it turns one kind into another.

import { without } from "../../lib/json.js";

/** @typedef {any} Spec */

/** Networks to begin with, by family. */
export const NETWORKS = /** @type {Record<string, Spec>} */ ({
  mlp: { family: "mlp", hidden: [64] },
  convnet: { family: "convnet", channels: [8, 16] },
  resnet: { family: "resnet", depth: 8, width: 1 },
  transformer: { family: "transformer", width: 64, depth: 2, heads: 4 },
  timm: { family: "timm", name: "mobilenetv3_small_050" },
  torchvision: { family: "torchvision", name: "shufflenet_v2_x0_5" },
  huggingface: {
    family: "huggingface",
    name: "bert",
    config: { hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 2 },
  },
});

/** @param {any} value @returns {any[]} A list, also while what is written in its place is none. */
export function listOf(value) {
  return Array.isArray(value) ? value : [];
}

/** @param {any} dataset @returns {string[]} Targets that a model can learn. */
export function learnable(dataset) {
  return Object.entries(dataset?.targets ?? {})
    .filter(([, spec]) => /** @type {any} */ (spec).kind !== "teacher")
    .map(([name]) => name);
}

/** @param {any} dataset @returns {string[]} Targets that are a teacher's outputs. */
export function taughtColumns(dataset) {
  return Object.entries(dataset?.targets ?? {})
    .filter(([, spec]) => /** @type {any} */ (spec).kind === "teacher")
    .map(([name]) => name);
}

/**
 * The spec that an address asks for: `?kind=&dataset=&teacher=&target=`.
 * @param {URLSearchParams} query
 * @param {any[]} datasets
 * @param {any[]} models
 * @returns {Spec}
 */
export function firstSpec(query, datasets, models) {
  const usable = datasets.filter((each) => each.format !== "predictions");
  const dataset = usable.find((each) => each.id === query.get("dataset")) ?? usable[0];
  const teacher = models.find((each) => each.id === query.get("teacher"));
  const kind =
    query.get("kind") === "train" || (!models.length && !taughtColumns(dataset).length) ? "train" : "distill";
  const target = query.get("target") ?? targetFor(dataset, teacher);
  const network = networkFor(dataset, kind);
  const common = { dataset: dataset?.id ?? "", ...(target ? { target } : {}) };
  if (kind === "train") return { kind, ...common, model: network };
  return { kind, ...common, teachers: teacher ? [teacherFor(teacher, target)] : [], student: network };
}

/** @param {any} dataset @param {any} teacher @returns {string | undefined} */
function targetFor(dataset, teacher) {
  const names = learnable(dataset);
  return names.find((name) => name in (teacher?.outputs ?? {})) ?? names[0];
}

/** @param {any} model @param {string | undefined} target @returns {Spec} */
export function teacherFor(model, target) {
  const outputs = Object.keys(model.outputs);
  return outputs.length > 1 && !(target && outputs.includes(target))
    ? { model: model.id, output: outputs[0] }
    : { model: model.id };
}

/** @param {any} dataset @param {string} kind @returns {Spec} A network that reads the inputs of a dataset. */
function networkFor(dataset, kind) {
  const kinds = Object.values(dataset?.inputs ?? {}).map((each) => /** @type {any} */ (each).kind);
  if (kinds.includes("text") || kinds.includes("tokens")) return structuredClone(NETWORKS.huggingface);
  if (kinds.includes("image") || kinds.includes("audio")) return structuredClone(NETWORKS.convnet);
  return kind === "train" ? { family: "mlp", hidden: [256, 256] } : structuredClone(NETWORKS.mlp);
}

/**
 * The same job as another kind, as far as that has what it says.
 * @param {Spec} spec
 * @param {string} kind
 * @param {any} dataset
 */
export function turnInto(spec, kind, dataset) {
  const network = spec.student ?? spec.model ?? structuredClone(NETWORKS.mlp);
  const target = spec.target ?? spec.tasks?.[0]?.target ?? spec.tasks?.[0]?.name ?? learnable(dataset)[0];
  const teachers = spec.teachers ?? spec.tasks?.[0]?.teachers;
  for (const name of [
    "student",
    "model",
    "target",
    "tasks",
    "teachers",
    "distillation",
    "relation",
    "balancing",
    "control",
    "repeats",
    "store",
    "mutual",
    "baselines",
  ])
    delete spec[name];
  spec.kind = kind;
  if (kind === "train") Object.assign(spec, target ? { target } : {}, { model: network });
  if (kind === "distill")
    Object.assign(spec, target ? { target } : {}, { teachers: teachers ?? [], student: network });
  if (kind === "multitask")
    Object.assign(spec, { tasks: learnable(dataset).map((name) => ({ name })), student: network });
}

/**
 * The spec of a job as a person would write it.
 * @param {Spec} spec
 * @returns {Spec}
 */
export function likeOf(spec) {
  const { datasets, ...rest } = without(spec);
  return datasets?.length === 1 ? { kind: rest.kind, dataset: datasets[0].dataset, ...rest } : without(spec);
}
