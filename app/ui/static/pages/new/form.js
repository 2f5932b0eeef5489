// @ts-check
// The form of a new job. It is made anew where the shape of the spec changes, and only read again elsewhere.
import { el, fill } from "../../lib/dom.js";
import { count } from "../../lib/format.js";
import { put } from "../../lib/json.js";
import { choiceField, choicesField, number, textField } from "./fields.js";
import { networkFields } from "./network.js";
import { learnable, listOf, turnInto } from "./specs.js";
import { teacherField, teacherFields } from "./teachers.js";

/** @typedef {any} Spec */
/** @typedef {import("./fields.js").Field} Field */

/** @type {[string, string][]} */
const KINDS = [
  ["distill", "Distil: a student learns from a teacher"],
  ["train", "Train: a model learns from labels"],
  ["multitask", "Multi-task: one student, several targets"],
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
      listOf(spec.teachers).map((/** @type {Spec} */ each) => [each.model, each.columns]),
      listOf(spec.tasks).map((/** @type {Spec} */ each) => each.name),
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

  /** @param {Field} field @returns {HTMLElement} Its element; from then on the field follows the spec. */
  add = (field) => {
    this.fields.push(field);
    return field.node;
  };

  get dataset() {
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
      this.add(
        choiceField(owner, "/kind", "What to do", KINDS, {
          set: (found, kind) => turnInto(found, kind, this.dataset),
        }),
      ),
      this.add(textField(owner, "/name", "Name", { hint: "For people. May be left out." })),
      el("h2", null, "Data"),
      this.add(this._datasetField()),
      ...(spec.kind === "multitask" ? this._tasks() : [this.add(this._targetField())]),
      ...(spec.kind === "distill" ? [el("h2", null, "Teacher"), ...teacherFields(this)] : []),
      el("h2", null, spec.kind === "train" ? "Network" : "Student"),
      ...networkFields(this, base, network(spec) ?? {}),
      el("h2", null, "Training"),
      el(
        "div",
        { class: "sized" },
        this.add(choiceField(owner, "/training/recipe", "Recipe", RECIPES)),
        this.add(
          textField(owner, "/training/epochs", "Epochs", {
            parse: number,
            mode: "numeric",
            hint: "Chosen by the recipe when empty.",
          }),
        ),
        spec.kind === "train"
          ? null
          : this.add(
              textField(owner, "/repeats", "Repeats", {
                parse: (text) => (text === "auto" ? "auto" : number(text)),
                hint: "Seeds of student and control; auto when empty. With 1 the verdict is provisional.",
              }),
            ),
      ),
      this.add(choicesField(owner, "/exports", "Also export", EXPORTS, { hint: "safetensors is always there." })),
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
    const options = learnable(this.dataset).map(
      (name) => /** @type {[string, string]} */ ([name, `${name} (${this.dataset.targets[name].kind})`]),
    );
    return choiceField(this.owner, "/target", "Target", options, {
      hint: options.length ? "" : "This dataset has no target: the teacher's output is the task.",
    });
  }

  _tasks() {
    const names = learnable(this.dataset);
    const chosen = choicesField(
      this.owner,
      "/tasks",
      "Targets",
      names.map((name) => [name, name]),
      {
        hint: "Each becomes a task with a head of its own.",
        get: (spec) => listOf(spec.tasks).map((/** @type {Spec} */ task) => task.target ?? task.name),
        set: (spec, values) => {
          spec.tasks = values.map(
            (name) =>
              listOf(spec.tasks).find((/** @type {Spec} */ task) => (task.target ?? task.name) === name) ?? {
                name,
              },
          );
        },
      },
    );
    return [
      this.add(chosen),
      ...listOf(this.spec.tasks).map((/** @type {Spec} */ task, /** @type {number} */ i) =>
        el(
          "div",
          { class: "sized" },
          this.add(
            textField(this.owner, `/tasks/${i}/weight`, `Weight of ${task.name}`, {
              parse: number,
              mode: "decimal",
              hint: "1 when empty.",
            }),
          ),
          this.add(
            teacherField(
              this,
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
}

/** @param {Spec} spec */
function network(spec) {
  return spec.student ?? spec.model;
}
