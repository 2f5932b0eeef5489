// @ts-check
// The form of a new job. It is made anew where the shape of the spec changes, and only read again elsewhere.
import { el, fill } from "../../lib/dom.js";
import { count } from "../../lib/format.js";
import { at, put } from "../../lib/json.js";
import { networkText } from "../../lib/specs.js";
import { choiceField, choicesField, number, numbers, textField } from "./fields.js";
import { learnable, NETWORKS, taughtColumns, teacherFor, turnInto } from "./specs.js";

/** @typedef {any} Spec */
/** @typedef {import("./fields.js").Field} Field */

/** @type {[string, string][]} */
const KINDS = [
  ["distill", "Distil: a student learns from a teacher"],
  ["train", "Train: a model learns from labels"],
  ["multitask", "Multi-task: one student, several targets"],
];
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
/** @type {[string, string][]} */
const RECIPES = [
  ["", "default"],
  ["fast", "fast: a third of the steps"],
  ["best", "best: three times the steps, and augmented images"],
];
/** @type {[string, string][]} */
const EXPORTS = [
  ["onnx", "ONNX"],
  ["int8", "int8"],
  ["fp16", "fp16"],
];

/** The form. */
export class Form {
  /**
   * @param {{ datasets: any[], models: any[], hasMore: boolean }} choices
   * @param {() => void} onChange
   */
  constructor(choices, onChange) {
    this.choices = choices;
    /** @type {Spec} */
    this.spec = {};
    this.key = "";
    /** @type {Field[]} */
    this.fields = [];
    /** @type {{ pointer: string, detail: string }[]} */
    this.problems = [];
    this.node = el("div");
    this.owner = {
      spec: () => this.spec,
      onChange: () => {
        this.show(this.spec);
        onChange();
      },
    };
  }

  /** @param {Spec} spec */
  show(spec) {
    this.spec = spec;
    const key = JSON.stringify([
      spec.kind,
      spec.dataset,
      network(spec)?.family,
      spec.teachers?.map((/** @type {Spec} */ each) => [each.model, each.columns]),
      spec.tasks?.map((/** @type {Spec} */ each) => each.name),
    ]);
    if (key !== this.key) {
      this.key = key;
      const focused = this.fields.find((field) => field.control === document.activeElement)?.pointer;
      this.fields = [];
      fill(this.node, ...this._build());
      if (focused) this.fields.find((field) => field.pointer === focused)?.control.focus();
    }
    for (const field of this.fields) field.read(spec);
    this._mark();
  }

  /** @param {{ pointer: string, code: string, detail: string }[]} problems */
  showProblems(problems) {
    this.problems = problems;
    this._mark();
  }

  /** @param {string} pointer @returns {boolean} Whether a field has this place. */
  focus(pointer) {
    const field = this._fieldOf(pointer);
    field?.control.focus();
    return field !== undefined;
  }

  /** @param {string} pointer @returns {Field | undefined} */
  _fieldOf(pointer) {
    const isBelow = (/** @type {string} */ one, /** @type {string} */ other) =>
      one === other || one.startsWith(`${other}/`);
    const around = this.fields.filter((field) => isBelow(pointer, field.pointer));
    const inside = this.fields.filter((field) => pointer && isBelow(field.pointer, pointer));
    return around.sort((a, b) => b.pointer.length - a.pointer.length)[0] ?? inside[0];
  }

  _mark() {
    for (const field of this.fields) {
      const own = this.problems.filter(({ pointer }) => this._fieldOf(pointer) === field);
      field.wrong.textContent = own.map(({ detail }) => detail).join(" ");
      if (own.length) field.control.setAttribute("aria-invalid", "true");
      else field.control.removeAttribute("aria-invalid");
    }
  }

  /** @param {Field} field @returns {HTMLElement} */
  _with(field) {
    this.fields.push(field);
    return field.node;
  }

  get _dataset() {
    return this.choices.datasets.find((each) => each.id === this.spec.dataset);
  }

  /** @returns {import("../../lib/dom.js").Child[]} */
  _build() {
    const { spec, owner } = this;
    if (!KINDS.some(([kind]) => kind === spec.kind)) {
      return [
        el(
          "p",
          { class: "soft" },
          "The form has no fields for this kind of job. Write it as JSON; kinds with a form are train, distill and multitask.",
        ),
      ];
    }
    const base = spec.kind === "train" ? "/model" : "/student";
    return [
      this._with(
        choiceField(owner, "/kind", "What to do", KINDS, {
          set: (found, kind) => turnInto(found, kind, this._dataset),
        }),
      ),
      this._with(textField(owner, "/name", "Name", { hint: "For people. May be left out." })),
      el("h2", null, "Data"),
      this._with(this._datasetField()),
      ...(spec.kind === "multitask" ? this._tasks() : [this._with(this._targetField())]),
      ...(spec.kind === "distill" ? [el("h2", null, "Teacher"), ...this._teachers()] : []),
      el("h2", null, spec.kind === "train" ? "Network" : "Student"),
      ...this._network(base),
      el("h2", null, "Training"),
      el(
        "div",
        { class: "sized" },
        this._with(choiceField(owner, "/training/recipe", "Recipe", RECIPES)),
        this._with(
          textField(owner, "/training/epochs", "Epochs", {
            parse: number,
            mode: "numeric",
            hint: "Chosen by the recipe when empty.",
          }),
        ),
        spec.kind === "train"
          ? null
          : this._with(
              textField(owner, "/repeats", "Repeats", {
                parse: (text) => (text === "auto" ? "auto" : number(text)),
                hint: "Seeds of student and control; auto when empty. With 1 the verdict is provisional.",
              }),
            ),
      ),
      this._with(choicesField(owner, "/exports", "Also export", EXPORTS, { hint: "safetensors is always there." })),
    ];
  }

  _datasetField() {
    const options = this.choices.datasets
      .filter((each) => each.format !== "predictions")
      .map((each) => /** @type {[string, string]} */ ([each.id, `${each.name}, ${count(each.rows)} rows`]));
    const hint = this.choices.hasMore
      ? "The 200 newest are listed; another id can be written in the JSON."
      : options.length
        ? ""
        : "There is no dataset that is ready: upload one first.";
    return choiceField(this.owner, "/dataset", "Dataset", options, {
      hint,
      set: (spec, id) => this._chooseDataset(spec, id),
    });
  }

  /** @param {Spec} spec @param {string} id */
  _chooseDataset(spec, id) {
    put(spec, "/dataset", id);
    delete spec.datasets;
    const names = learnable(this.choices.datasets.find((each) => each.id === id));
    if (spec.kind === "multitask") spec.tasks = names.map((name) => ({ name }));
    else if (!names.includes(spec.target)) put(spec, "/target", names[0]);
  }

  _targetField() {
    const options = learnable(this._dataset).map(
      (name) => /** @type {[string, string]} */ ([name, `${name} (${this._dataset.targets[name].kind})`]),
    );
    return choiceField(this.owner, "/target", "Target", options, {
      hint: options.length ? "" : "This dataset has no target: the teacher's output is the task.",
    });
  }

  _tasks() {
    const names = learnable(this._dataset);
    const chosen = choicesField(
      this.owner,
      "/tasks",
      "Targets",
      names.map((name) => [name, name]),
      {
        hint: "Each becomes a task with a head of its own.",
        get: (spec) => spec.tasks.map((/** @type {Spec} */ task) => task.target ?? task.name),
        set: (spec, values) => {
          spec.tasks = values.map(
            (name) =>
              spec.tasks.find((/** @type {Spec} */ task) => (task.target ?? task.name) === name) ?? { name },
          );
        },
      },
    );
    return [
      this._with(chosen),
      ...this.spec.tasks.map((/** @type {Spec} */ task, /** @type {number} */ i) =>
        el(
          "div",
          { class: "sized" },
          this._with(
            textField(this.owner, `/tasks/${i}/weight`, `Weight of ${task.name}`, {
              parse: number,
              mode: "decimal",
              hint: "1 when empty.",
            }),
          ),
          this._with(
            this._teacherField(
              `/tasks/${i}/teachers`,
              0,
              `Teacher of ${task.name}`,
              task.target ?? task.name,
              true,
            ),
          ),
        ),
      ),
    ];
  }

  _teachers() {
    const { teachers = [] } = this.spec;
    const rows = (teachers.length ? teachers : [{}]).map((/** @type {Spec} */ teacher, /** @type {number} */ i) => {
      const model = this.choices.models.find((each) => each.id === teacher.model);
      const outputs = Object.keys(model?.outputs ?? {});
      return el(
        "div",
        { class: "sized" },
        this._with(
          this._teacherField(
            "/teachers",
            i,
            teachers.length > 1 ? `Teacher ${i + 1}` : "Teacher",
            this.spec.target,
            false,
          ),
        ),
        outputs.length > 1
          ? this._with(
              choiceField(
                this.owner,
                `/teachers/${i}/output`,
                "Output",
                outputs.map((name) => [name, name]),
              ),
            )
          : null,
        teachers.length > 1
          ? this._with(
              textField(this.owner, `/teachers/${i}/weight`, "Weight", {
                parse: number,
                mode: "decimal",
                hint: "1 when empty.",
              }),
            )
          : null,
        teachers.length > 1
          ? el(
              "button",
              { type: "button", class: "plain", onclick: () => this._change(() => teachers.splice(i, 1)) },
              `Leave teacher ${i + 1} out`,
            )
          : null,
      );
    });
    const add = el(
      "button",
      { type: "button", class: "plain", onclick: () => this._change(() => this.spec.teachers.push({ model: "" })) },
      "Add a teacher",
    );
    return [...rows, teachers.length && teachers.at(-1).model !== "" ? el("p", null, add) : null];
  }

  /** @param {() => void} change */
  _change(change) {
    change();
    this.owner.onChange();
  }

  /**
   * @param {string} list Pointer to the teachers.
   * @param {number} i
   * @param {string} label
   * @param {string | undefined} target
   * @param {boolean} mayLack
   */
  _teacherField(list, i, label, target, mayLack) {
    const models = this.choices.models.map(
      (each) =>
        /** @type {[string, string]} */ ([
          each.id,
          `${each.name}, ${networkText(each.architecture) || each.format}, ${count(each.parameters)} parameters`,
        ]),
    );
    const columns = taughtColumns(this._dataset).map(
      (name) => /** @type {[string, string]} */ ([`columns:${name}`, `columns ${name} of the dataset`]),
    );
    return choiceField(
      this.owner,
      `${list}/${i}`,
      label,
      [["", mayLack ? "none: labels alone" : "choose a teacher"], ...columns, ...models],
      {
        hint:
          models.length || columns.length
            ? ""
            : "There is no model that is ready: train or upload a teacher first.",
        get: (spec) => {
          const teacher = at(spec, `${list}/${i}`) ?? {};
          return teacher.columns
            ? `columns:${teacher.columns}`
            : (teacher.model ?? teacher.job ?? teacher.predictions ?? "");
        },
        set: (spec, value) => {
          const model = this.choices.models.find((each) => each.id === value);
          const weight = at(spec, `${list}/${i}/weight`);
          const made = model
            ? teacherFor(model, target)
            : value.startsWith("columns:")
              ? { columns: value.slice(8) }
              : undefined;
          if (!made && mayLack) put(spec, list, undefined);
          else
            put(spec, `${list}/${i}`, made && weight !== undefined ? { ...made, weight } : (made ?? { model: "" }));
        },
      },
    );
  }

  /** @param {string} base */
  _network(base) {
    const { owner } = this;
    const found = network(this.spec) ?? {};
    if (found.model || found.from_teacher)
      return [
        el(
          "p",
          { class: "soft" },
          `The spec starts from ${found.model ? "a model" : "the teacher's layers"}; the JSON says how.`,
        ),
      ];
    const text = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ options) =>
      this._with(textField(owner, `${base}/${name}`, label, options));
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
      this._with(
        choiceField(owner, `${base}/family`, "Family", FAMILIES, {
          set: (spec, family) => put(spec, base, structuredClone(NETWORKS[family])),
        }),
      ),
      el("div", { class: "sized" }, ...(sizes[found.family] ?? byName)()),
    ];
  }
}

/** @param {Spec} spec */
function network(spec) {
  return spec.student ?? spec.model;
}
