// @ts-check
// Fields of the network that is trained: its family and sizes.
import { el } from "../../lib/dom.js";
import { put } from "../../lib/json.js";
import { choiceField, number, numbers, textField } from "./fields.js";
import { NETWORKS } from "./specs.js";

/** @type {[string, string][]} */
const FAMILIES = [
  ["mlp", "mlp: layers of numbers"],
  ["convnet", "convnet: convolutions, for images and series"],
  ["resnet", "resnet: residual, for images"],
  ["transformer", "transformer: rows of tokens"],
  ["timm", "timm: a network of the library by its name"],
  ["torchvision", "torchvision: a network of the library by its name"],
  ["huggingface", "transformers: a type of the library, sized in the JSON"],
];

/**
 * @param {import("./form.js").Form} form
 * @param {string} base Pointer to the network.
 * @param {any} found What the spec says of it.
 * @returns {HTMLElement[]}
 */
export function networkFields({ owner, add }, base, found) {
  if (found.model || found.from_teacher)
    return [
      el(
        "p",
        { class: "soft" },
        `The spec starts from ${found.model ? "a model" : "the teacher's layers"}; the JSON says how.`,
      ),
    ];
  const text = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ options) =>
    add(textField(owner, `${base}/${name}`, label, options));
  const list = {
    parse: numbers,
    show: (/** @type {any} */ value) => (Array.isArray(value) ? value.join(", ") : String(value ?? "")),
  };
  const one = { parse: number, mode: "numeric" };
  const sizes = /** @type {Record<string, () => HTMLElement[]>} */ ({
    mlp: () => [
      text("hidden", "Hidden layers", { ...list, hint: "Widths, such as 64, 32. Empty: a linear model." }),
    ],
    convnet: () => [
      text("channels", "Channels of the stages", {
        ...list,
        hint: "Such as 8, 16. Each stage halves the image.",
      }),
      text("blocks", "Convolutions a stage", one),
    ],
    resnet: () => [
      text("depth", "Depth", { ...one, hint: "8, 14, 20, 26, 32 …" }),
      text("width", "Width", { ...one, hint: "Factor on 16, 32 and 64 channels." }),
    ],
    transformer: () => [
      text("width", "Width", one),
      text("depth", "Blocks", one),
      text("heads", "Attention heads", one),
    ],
  });
  const byName = () => [text("name", "Name", { hint: "As the library lists it." })];
  return [
    add(
      choiceField(owner, `${base}/family`, "Family", FAMILIES, {
        set: (spec, family) => put(spec, base, structuredClone(NETWORKS[family])),
      }),
    ),
    el("div", { class: "sized" }, ...(sizes[found.family] ?? byName)()),
  ];
}
