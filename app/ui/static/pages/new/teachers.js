// @ts-check
// Fields of teachers.
import { el } from "../../lib/dom.js";
import { count } from "../../lib/format.js";
import { at, put } from "../../lib/json.js";
import { networkText } from "../../lib/specs.js";
import { choiceField, number, textField } from "./fields.js";
import { listOf, taughtColumns, teacherFor } from "./specs.js";

/** @typedef {any} Spec */
/** @typedef {import("./form.js").Form} Form */

/**
 * The teachers of a distillation, each in a row.
 * @param {Form} form
 * @returns {(HTMLElement | null)[]}
 */
export function teacherFields(form) {
  const { spec, owner, choices, add } = form;
  const teachers = listOf(spec.teachers);
  const change = (/** @type {() => void} */ act) => {
    act();
    owner.onChange();
  };
  const rows = (teachers.length ? teachers : [{}]).map((/** @type {Spec} */ teacher, /** @type {number} */ i) => {
    const model = choices.models.find((each) => each.id === teacher.model);
    const outputs = Object.keys(model?.outputs ?? {});
    return el(
      "div",
      { class: "sized" },
      add(
        teacherField(
          form,
          "/teachers",
          i,
          teachers.length > 1 ? `Teacher ${i + 1}` : "Teacher",
          spec.target,
          false,
        ),
      ),
      outputs.length > 1
        ? add(
            choiceField(
              owner,
              `/teachers/${i}/output`,
              "Output",
              outputs.map((name) => [name, name]),
            ),
          )
        : null,
      teachers.length > 1
        ? add(
            textField(owner, `/teachers/${i}/weight`, "Weight", {
              parse: number,
              mode: "decimal",
              hint: "1 when empty.",
            }),
          )
        : null,
      teachers.length > 1
        ? el(
            "button",
            { type: "button", class: "plain", onclick: () => change(() => teachers.splice(i, 1)) },
            `Leave teacher ${i + 1} out`,
          )
        : null,
    );
  });
  const more = el(
    "button",
    { type: "button", class: "plain", onclick: () => change(() => spec.teachers.push({ model: "" })) },
    "Add a teacher",
  );
  return [...rows, teachers.length && teachers.at(-1).model !== "" ? el("p", null, more) : null];
}

/**
 * A choice among models and the columns of the dataset.
 * @param {Form} form
 * @param {string} list Pointer to the teachers.
 * @param {number} i
 * @param {string} label
 * @param {string | undefined} target
 * @param {boolean} mayLack
 */
export function teacherField({ owner, choices, dataset }, list, i, label, target, mayLack) {
  const models = choices.models.map(
    (each) =>
      /** @type {[string, string]} */ ([
        each.id,
        `${each.name}, ${networkText(each.architecture) || each.format}, ${count(each.parameters)} parameters`,
      ]),
  );
  const columns = taughtColumns(dataset).map(
    (name) => /** @type {[string, string]} */ ([`columns:${name}`, `columns ${name} of the dataset`]),
  );
  return choiceField(
    owner,
    `${list}/${i}`,
    label,
    [["", mayLack ? "none: labels alone" : "choose a teacher"], ...columns, ...models],
    {
      hint:
        models.length || columns.length ? "" : "There is no model that is ready: train or upload a teacher first.",
      get: (spec) => {
        const teacher = at(spec, `${list}/${i}`) ?? {};
        return teacher.columns
          ? `columns:${teacher.columns}`
          : (teacher.model ?? teacher.job ?? teacher.predictions ?? "");
      },
      set: (spec, value) => {
        const model = choices.models.find((each) => each.id === value);
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
