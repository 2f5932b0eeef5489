// @ts-check
// Builds elements. Nothing here takes markup as text: what a user named is text, never HTML.

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Child | Child[]} Children */
/** @typedef {Record<string, any>} Props */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `el("p", { class: "soft", onclick: act }, "text", node)`. Props that begin with `on` are listeners,
 * `style` is an object of CSS properties, true is an empty attribute, and null or false leaves one out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Children} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, props, ...children) {
  const made = document.createElement(tag);
  set(made, props);
  made.append(...shown(children));
  return made;
}

/**
 * An element of SVG, likewise.
 * @param {string} tag
 * @param {Props | null} [props]
 * @param {...Children} children
 * @returns {SVGElement}
 */
export function svg(tag, props, ...children) {
  const made = document.createElementNS(SVG, tag);
  set(made, props);
  made.append(...shown(children));
  return made;
}

/**
 * Set properties of an element, as `el` does.
 * @param {HTMLElement | SVGElement} node
 * @param {Props | null} [props]
 */
export function set(node, props) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style")
      Object.entries(value).forEach(([each, text]) => node.style.setProperty(each, String(text)));
    else if (name === "value") /** @type {any} */ (node).value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * What is to be shown of children: without gaps, lists flattened.
 * @param {Children[]} children
 * @returns {(Node | string)[]}
 */
export function shown(children) {
  return children
    .flat()
    .filter((each) => each !== null && each !== undefined && each !== false)
    .map((each) => (each instanceof Node ? each : String(each)));
}

/**
 * Replace the content of an element.
 * @param {Element} node
 * @param {...Children} children
 */
export function fill(node, ...children) {
  node.replaceChildren(...shown(children));
}

/**
 * Change a text only where it differs, so that a selection and a screen reader are left in peace.
 * @param {Node} node
 * @param {string} text
 */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * A message of the service, in which backticks mark names and code.
 * @param {string} text
 * @returns {Child[]}
 */
export function rich(text) {
  return text.split("`").map((part, i, all) => (i % 2 && i < all.length - 1 ? el("code", null, part) : part));
}

let lastId = 0;

/** @param {string} prefix @returns {string} An id that no other element has. */
export function newId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/**
 * Tell screen readers of a change.
 * @param {string} text
 */
export function announce(text) {
  const place = document.getElementById("announcer");
  if (place) place.textContent = text;
}

/** @param {string} text A short message that disappears, also for screen readers. */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const note = el("div", { class: "toast" }, text);
  (document.querySelector("dialog[open]") ?? document.body).append(note);
  announce(text);
  setTimeout(() => note.remove(), 3500);
}

/**
 * Put a text on the clipboard; browsers offer it to pages by https and on this machine only.
 * @param {string} text
 * @param {string} what
 */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const place = el("textarea", { value: text, "aria-hidden": "true", class: "unseen" });
    document.body.append(place);
    place.select();
    document.execCommand("copy");
    place.remove();
  }
  toast(`Copied: ${what}`);
}

/**
 * The colour that a variable of the style has now, for a canvas.
 * @param {string} name
 * @param {number} [opacity]
 * @returns {string}
 */
export function colour(name, opacity = 1) {
  const mixed = opacity < 1 ? `color-mix(in srgb, var(${name}) ${100 * opacity}%, transparent)` : `var(${name})`;
  const probe = el("i", { hidden: true, style: { color: mixed } });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
