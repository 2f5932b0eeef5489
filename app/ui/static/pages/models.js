// @ts-check
// The list of models.
import { el } from "../lib/dom.js";
import { bytes, count } from "../lib/format.js";
import { linkTo } from "../lib/names.js";
import { networkText } from "../lib/specs.js";
import { pageHead } from "../parts/bits.js";
import { showUploads } from "../parts/uploads.js";

export const title = "Models";
const FORMATS = ["safetensors", "state_dict", "onnx", "huggingface"];

/** @param {import("../lib/router.js").Place} place */
export function show(place) {
  place.main.append(pageHead("Models", "Teachers that were uploaded, and everything that was trained here."));
  showUploads("model", place, {
    columns: [
      {
        head: "Network",
        class: "wide",
        key: (model) => [model.architecture, model.format],
        cell: (model) => el("span", { class: "cut" }, networkText(model.architecture) || model.format),
      },
      {
        head: "Outputs",
        class: "wide",
        key: (model) => [model.outputs, model.sizes],
        cell: (model) =>
          Object.keys(model.outputs)
            .slice(0, 4)
            .map((name) =>
              el("div", { class: "cut" }, model.sizes[name] ? `${name} (${count(model.sizes[name])})` : name),
            ),
      },
      {
        head: "Parameters",
        class: "number",
        key: (model) => model.parameters,
        cell: (model) => count(model.parameters),
      },
      {
        head: "Files",
        class: "number wide",
        key: (model) => model.files,
        cell: (model) =>
          bytes(model.files.reduce((/** @type {number} */ sum, /** @type {any} */ file) => sum + file.bytes, 0)),
      },
      {
        head: "Made by",
        class: "wide",
        key: (model) => model.source,
        cell: (model) => (model.source.type === "job" ? linkTo(model.source.job) : "upload"),
      },
    ],
    formats: FORMATS,
    empty: [
      "There are no models yet. A model is uploaded by ",
      el("code", null, "POST /v1/models"),
      ", or trained by a job.",
    ],
  });
}
