// @ts-check
// The list of models.
import { el } from "../lib/dom.js";
import { bytes, count, shortId, timeOf } from "../lib/format.js";
import { keep, linkTo } from "../lib/names.js";
import { href } from "../lib/router.js";
import { networkText } from "../lib/specs.js";
import { STATES } from "../lib/wording.js";
import { pageHead, stateBadge } from "../parts/bits.js";
import { showListing, stateTeller } from "../parts/listing.js";

export const title = "Models";
const FORMATS = ["safetensors", "state_dict", "onnx", "huggingface"];

/** @param {import("../lib/router.js").Place} place */
export function show({ main, query, signal }) {
  const tell = stateTeller("Model");
  main.append(pageHead("Models", "Teachers that were uploaded, and everything that was trained here."));
  showListing(
    main,
    {
      path: "v1/models",
      caption: "Models, newest first",
      noun: "model",
      columns: [
        { head: "State", class: "narrow", key: (model) => model.state, cell: (model) => stateBadge(model.state) },
        {
          head: "Name",
          isName: true,
          key: (model) => [model.name, model.rejection],
          cell: (model) => [
            el(
              "a",
              { href: href(`models/${encodeURIComponent(model.id)}`), class: "cut", title: model.id },
              model.name || shortId(model.id),
            ),
            model.rejection ? el("small", { class: "problem" }, model.rejection.code) : null,
          ],
        },
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
        {
          head: "Created",
          class: "wide narrow",
          key: (model) => model.created_at,
          cell: (model) => timeOf(model.created_at),
        },
      ],
      filters: [
        {
          name: "state",
          label: "State",
          options: ["verifying", "ready", "rejected"].map((each) => [each, STATES[each].word]),
        },
        { name: "format", label: "Format", options: FORMATS.map((each) => [each, each]) },
      ],
      prepare: async (rows) => {
        for (const row of rows) keep(row.id, row.name, row.state);
        tell(rows);
      },
      empty: [
        "There are no models yet. A model is uploaded by ",
        el("code", null, "POST /v1/models"),
        ", or trained by a job.",
      ],
    },
    query,
    signal,
  );
}
