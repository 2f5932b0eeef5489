// @ts-check
// One model.
import { address, ApiError, get } from "../lib/api.js";
import { el, fill } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { linkTo } from "../lib/names.js";
import { href, title as setTitle } from "../lib/router.js";
import { asJson, datasetsOf, networkText, teachersOf } from "../lib/specs.js";
import { facts, pageHead, plainTable, section, stateBadge, warning } from "../parts/bits.js";
import { tryIt } from "../parts/tryit.js";
import { deleteButton, factsOfUpload, filesOf, inspectionOf, showUpload } from "../parts/uploads.js";

export const title = "Model";

/** @param {import("../lib/router.js").Place} place */
export function show(place) {
  showUpload("model", place, (model) => draw(place.main, model, place.signal));
}

/** @param {HTMLElement} main @param {any} model @param {AbortSignal} signal */
async function draw(main, model, signal) {
  setTitle(`${model.name}, model`);
  const isReady = model.state === "ready";
  const lineage = el("div");
  const trying = el("div");
  fill(
    main,
    pageHead(
      model.name,
      [
        stateBadge(model.state),
        el("span", null, networkText(model.architecture) || model.format),
        model.parameters === null ? "" : el("span", null, `${count(model.parameters)} parameters`),
      ],
      [
        isReady ? el("a", { class: "button", href: href("new", { teacher: model.id }) }, "Distil it") : null,
        deleteButton("model", model),
      ],
    ),
    inspectionOf(model),
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        null,
        model.warnings.length ? section("What the inspection chose", ...model.warnings.map(warning)) : null,
        isReady ? section("Try it", trying) : null,
        section("Outputs", outputsOf(model)),
        section("Inputs", inputsOf(model)),
        model.architecture
          ? section(
              "Network",
              el(
                "div",
                { class: "spec" },
                el(
                  "pre",
                  { tabindex: 0, role: "region", "aria-label": "The network as JSON" },
                  asJson(model.architecture),
                ),
              ),
            )
          : null,
      ),
      el(
        "aside",
        { "aria-label": "About this model" },
        section(
          "About",
          facts([
            ["Format", model.format],
            ["Row shape", model.input_shape?.join(" × ")],
            ["Licence", model.licence ?? "not stated"],
            ...factsOfUpload(model),
          ]),
        ),
        section("Where it comes from", lineage),
        section("Files", filesOf(model, roleOf)),
        isReady ? section("Downloads", downloadsOf(model)) : null,
      ),
    ),
  );
  const job = await lineageOf(lineage, model, signal);
  if (isReady)
    fill(
      trying,
      tryIt(model, {
        datasets: await datasetsFor(job, signal),
        hasTeachers: teachersOf(job?.spec).length > 0,
        signal,
      }),
    );
}

/** @param {HTMLElement} place @param {any} model @param {AbortSignal} signal @returns {Promise<any>} The job that made it. */
async function lineageOf(place, model, signal) {
  if (model.source.type !== "job") {
    fill(place, el("p", null, "It was uploaded."));
    return null;
  }
  fill(place, facts([["Job", linkTo(model.source.job)]]));
  try {
    const job = await get(`v1/jobs/${encodeURIComponent(model.source.job)}`, {}, signal);
    const teachers = teachersOf(job.spec);
    fill(
      place,
      facts([
        ["Job", linkTo(job.id)],
        [
          "Teacher",
          teachers.length
            ? teachers.map((each) => el("div", null, each.id ? linkTo(each.id) : each.text))
            : "none, trained by labels",
        ],
        ["Dataset", datasetsOf(job.spec).map((id) => el("div", null, linkTo(id)))],
        ["Report", el("a", { href: href(`jobs/${encodeURIComponent(job.id)}`) }, "how good it is")],
      ]),
    );
    return job;
  } catch (error) {
    if (!(error instanceof ApiError) || error.isTemporary) throw error;
    fill(place, el("p", null, "The job that made it was deleted."));
    return null;
  }
}

/** @param {any} job @param {AbortSignal} signal @returns {Promise<{ id: string, name: string }[]>} Datasets with rows that it may read. */
async function datasetsFor(job, signal) {
  const { data } = await get("v1/datasets", { state: "ready", limit: 50 }, signal);
  const own = job ? datasetsOf(job.spec) : [];
  const found = data
    .filter((/** @type {any} */ each) => each.format !== "predictions")
    .map((/** @type {any} */ each) => ({ id: each.id, name: each.name }));
  return [
    ...found.filter((/** @type {any} */ each) => own.includes(each.id)),
    ...found.filter((/** @type {any} */ each) => !own.includes(each.id)),
  ];
}

/** @param {any} model @returns {HTMLElement} */
function outputsOf(model) {
  const rows = Object.entries(model.outputs).map(([name, spec]) => {
    const { kind, output, classes } = /** @type {any} */ (spec);
    return [
      name,
      kind,
      count(model.sizes[name]),
      output ?? "",
      classes
        ? el("span", { class: "cut", title: classes.slice(0, 200).join(", ") }, classes.slice(0, 12).join(", "))
        : "",
    ];
  });
  return plainTable("Outputs", ["Name", "Kind", "Size", "What the numbers are", "Classes"], rows, {
    numbers: [2],
    isHidden: true,
  });
}

/** @param {any} model @returns {HTMLElement} */
function inputsOf(model) {
  const raw = Object.entries(model.raw_inputs);
  if (!raw.length) return el("p", { class: "soft" }, "What it reads is known once the inspection has ended.");
  const rows = raw.map(([name, input]) => {
    const { dtype, shape, columns, image, audio, tokens } = /** @type {any} */ (input);
    const kind = image ? "image" : audio ? "sound" : tokens ? "text" : dtype;
    return [
      name,
      kind,
      shape.map((/** @type {number | null} */ side) => side ?? "any").join(" × ") || "one",
      columns ? el("span", { class: "cut", title: columns.join(", ") }, columns.join(", ")) : "",
    ];
  });
  return plainTable("Inputs of a row", ["Name", "Kind", "Shape", "Columns"], rows, { isHidden: true });
}

/** @param {any} file */
function roleOf(file) {
  return [" ", el("span", { class: "tag" }, file.role.replaceAll("_", " "))];
}

/** @param {any} model @returns {HTMLElement} */
function downloadsOf(model) {
  const has = (/** @type {string} */ role) => model.files.some((/** @type {any} */ file) => file.role === role);
  const short = model.name.replaceAll(/[^\w.-]+/g, "-");
  const base = `v1/models/${encodeURIComponent(model.id)}`;
  const link = (
    /** @type {string} */ name,
    /** @type {string} */ path,
    /** @type {any} */ query,
    /** @type {string} */ end,
  ) => el("li", null, el("a", { href: address(path, query), download: `${short}.${end}` }, name));
  return el(
    "ul",
    { class: "downloads" },
    link(
      model.format === "onnx" ? "Graph, as uploaded" : "Weights",
      `${base}/weights`,
      {},
      model.format === "onnx" ? "onnx" : "safetensors",
    ),
    model.format === "onnx" ? null : link("ONNX", `${base}/weights`, { format: "onnx", wait: 60 }, "onnx"),
    has("int8") ? link("ONNX, int8", `${base}/weights`, { format: "int8" }, "int8.onnx") : null,
    has("fp16") ? link("ONNX, fp16", `${base}/weights`, { format: "fp16" }, "fp16.onnx") : null,
    model.format === "onnx" ? null : link("Bundle", `${base}/bundle`, { wait: 60 }, "zip"),
  );
}
