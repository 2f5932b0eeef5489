// @ts-check
// Fields of the form: each shows one place of the spec, and writes it.
import { el, newId } from "../../lib/dom.js";
import { at, put } from "../../lib/json.js";

/** @typedef {any} Spec */
/**
 * @typedef {object} Field
 * @property {string} pointer Its place in the spec, by which problems find it.
 * @property {HTMLElement} node
 * @property {HTMLElement} wrong
 * @property {HTMLElement} control What gets the focus.
 * @property {(spec: Spec) => void} read Show what the spec says.
 */
/** @typedef {{ spec: () => Spec, onChange: () => void }} Owner */

/**
 * @param {string} label
 * @param {string} hint
 * @param {HTMLElement} control
 * @returns {{ node: HTMLElement, wrong: HTMLElement }}
 */
function framed(label, hint, control) {
  const id = newId("field");
  const [hintId, wrongId] = [`${id}-hint`, `${id}-wrong`];
  control.id = id;
  control.setAttribute("aria-describedby", `${hintId} ${wrongId}`);
  const wrong = el("p", { id: wrongId, class: "wrong" });
  return {
    wrong,
    node: el(
      "div",
      { class: "field" },
      el("label", { for: id }, label),
      control,
      wrong,
      el("small", { id: hintId, class: "soft" }, hint),
    ),
  };
}

/**
 * A field with a text; `parse` gives the value, undefined to leave it out.
 * @param {Owner} owner
 * @param {string} pointer
 * @param {string} label
 * @param {{ hint?: string, parse?: (text: string) => any, show?: (value: any) => string, mode?: string }} [options]
 * @returns {Field}
 */
export function textField(
  owner,
  pointer,
  label,
  { hint = "", parse = (text) => text || undefined, show = (value) => String(value ?? ""), mode } = {},
) {
  const control = el("input", { type: "text", autocomplete: "off", spellcheck: "false", inputmode: mode });
  const write = () => {
    put(owner.spec(), pointer, parse(control.value.trim()));
    owner.onChange();
  };
  control.addEventListener("input", write);
  control.addEventListener("change", write);
  const read = (/** @type {Spec} */ spec) => {
    const value = at(spec, pointer);
    if (document.activeElement !== control || JSON.stringify(parse(control.value.trim())) !== JSON.stringify(value))
      control.value = show(value);
  };
  return { pointer, control, read, ...framed(label, hint, control) };
}

/** @param {string} text @returns {number | string | undefined} A number; what is none stays text, of which the service says what it expects. */
export function number(text) {
  if (!text) return undefined;
  const found = Number(text.replaceAll(",", ""));
  return Number.isFinite(found) ? found : text;
}

/** @param {string} text @returns {(number | string)[]} */
export function numbers(text) {
  return text
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((each) => /** @type {number | string} */ (number(each)));
}

/**
 * A field with a choice.
 * @param {Owner} owner
 * @param {string} pointer
 * @param {string} label
 * @param {[string, string][]} options Values with words.
 * @param {{ hint?: string, get?: (spec: Spec) => string, set?: (spec: Spec, value: string) => void }} [more]
 * @returns {Field}
 */
export function choiceField(owner, pointer, label, options, { hint = "", get, set } = {}) {
  const control = el("select", null, ...options.map(([value, word]) => el("option", { value }, word)));
  control.addEventListener("change", () => {
    if (set) set(owner.spec(), control.value);
    else put(owner.spec(), pointer, control.value || undefined);
    owner.onChange();
  });
  const read = (/** @type {Spec} */ spec) => {
    const value = String((get ? get(spec) : at(spec, pointer)) ?? "");
    if (![...control.options].some((each) => each.value === value))
      control.append(el("option", { value }, value ? `${value} (by its name in the JSON)` : "none"));
    control.value = value;
  };
  return { pointer, control, read, ...framed(label, hint, control) };
}

/**
 * A field with several choices.
 * @param {Owner} owner
 * @param {string} pointer
 * @param {string} label
 * @param {[string, string][]} options
 * @param {{ hint?: string, get?: (spec: Spec) => string[], set?: (spec: Spec, values: string[]) => void }} [more]
 * @returns {Field}
 */
export function choicesField(owner, pointer, label, options, { hint = "", get, set } = {}) {
  const boxes = options.map(([value, word]) => ({ value, word, box: el("input", { type: "checkbox", value }) }));
  const wrong = el("p", { class: "wrong" });
  const control = el(
    "fieldset",
    null,
    el("legend", null, label),
    el("div", { class: "choices" }, ...boxes.map(({ word, box }) => el("label", null, box, word))),
    wrong,
    el("small", { class: "soft" }, hint),
  );
  control.addEventListener("change", () => {
    const values = boxes.filter(({ box }) => box.checked).map(({ value }) => value);
    if (set) set(owner.spec(), values);
    else put(owner.spec(), pointer, values.length ? values : undefined);
    owner.onChange();
  });
  const read = (/** @type {Spec} */ spec) => {
    const chosen = (get ? get(spec) : at(spec, pointer)) ?? [];
    for (const { value, box } of boxes) box.checked = chosen.includes(value);
  };
  return { pointer, node: control, control: boxes[0]?.box ?? control, wrong, read };
}
