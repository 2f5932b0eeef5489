// @ts-check
// One model.
import { address, ApiError, get, send } from "../lib/api.js";
import { copy, el, fill, rich, toast } from "../lib/dom.js";
import { bytes, count, timeOf } from "../lib/format.js";
import { poll } from "../lib/live.js";
import { keep, linkTo } from "../lib/names.js";
import { go, href, title as setTitle } from "../lib/router.js";
import { asJson, datasetsOf, networkText, teachersOf } from "../lib/specs.js";
import { facts, note, pageHead, plainTable, section, showError, stateBadge, warning } from "../parts/bits.js";
import { confirm } from "../parts/dialogs.js";
import { tryIt } from "../parts/tryit.js";

export const title = "Model";

/** @param {import("../lib/router.js").Place} place */
export function show({ main, id, signal }) {
  let shown = "";
  poll(
    async (within) => {
      const model = await get(`v1/models/${encodeURIComponent(id)}`, {}, within);
      keep(model.id, model.name, model.state);
      const key = JSON.stringify(model);
      if (key !== shown) {
        shown = key;
        await draw(main, model, signal);
      }
      return model.state === "verifying" ? undefined : false;
    },
    {
      signal,
      onError: (error) =>
        showError(main, error, error.status === 404 ? "This model is not there" : "This model cannot be shown"),
    },
  );
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
        el("button", { type: "button", class: "danger", onclick: () => remove(model) }, "Delete"),
      ],
    ),
    rejectionOf(model),
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
            ["Created", timeOf(model.created_at)],
            ...Object.entries(model.metadata).map(([name, value]) => /** @type {[string, any]} */ ([name, value])),
            [
              "Id",
              [
                el("code", null, model.id),
                el("button", { type: "button", class: "plain", onclick: () => copy(model.id, "the id") }, "Copy"),
              ],
            ],
          ]),
        ),
        section("Where it comes from", lineage),
        section("Files", filesOf(model)),
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

/** @param {any} model */
function rejectionOf({ state, rejection }) {
  if (state === "verifying")
    return note(
      "plain",
      el("p", null, "The upload is being inspected. This page shows the result as soon as it is there."),
    );
  if (!rejection) return null;
  return note(
    "bad",
    el("p", null, el("strong", null, "The upload was rejected. "), ...rich(rejection.message)),
    el("p", null, el("code", null, rejection.code)),
    el(
      "p",
      null,
      "Send a better manifest by PATCH within 24 hours, and the same file is inspected again; or upload another file.",
    ),
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

/** @param {any} model @returns {HTMLElement} */
function filesOf(model) {
  return el(
    "ul",
    { class: "plain" },
    ...model.files.map((/** @type {any} */ file) =>
      el(
        "li",
        null,
        `${file.name}, ${bytes(file.bytes)} `,
        el("span", { class: "tag" }, file.role.replaceAll("_", " ")),
        el(
          "div",
          null,
          el(
            "small",
            { class: "soft" },
            "SHA-256 ",
            el("code", { title: file.sha256 }, `${file.sha256.slice(0, 12)}…`),
          ),
        ),
      ),
    ),
  );
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

/** @param {any} model */
function remove(model) {
  confirm(
    {
      title: `Delete ${model.name}?`,
      action: "Delete",
      isDangerous: true,
      text: "Its files are deleted and cannot be brought back. Jobs that have not ended and need it keep it: the service then refuses.",
    },
    async () => {
      await send("DELETE", `v1/models/${encodeURIComponent(model.id)}`);
      toast("The model was deleted");
      go(href("models"));
    },
  );
}
