// @ts-check
// JSON documents by JSON pointers (RFC 6901): read, changed, compared, and located in their text.

/** @typedef {any} Json */

/** @param {string} pointer @returns {string[]} */
function parts(pointer) {
  return pointer
    .split("/")
    .slice(1)
    .map((each) => each.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** @param {string} name @returns {string} */
function escaped(name) {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** @param {Json} document @param {string} pointer @returns {Json} undefined where there is nothing. */
export function at(document, pointer) {
  return parts(pointer).reduce((found, name) => found?.[name], document);
}

/**
 * Change a value, or remove it where the value is undefined. Objects on the way are made.
 * @param {Json} document
 * @param {string} pointer
 * @param {Json} value
 */
export function put(document, pointer, value) {
  const names = parts(pointer);
  const last = /** @type {string} */ (names.pop());
  let place = document;
  for (const [i, name] of names.entries()) {
    if (place[name] === null || typeof place[name] !== "object") {
      if (value === undefined) return;
      place[name] = /^\d+$/.test(names[i + 1] ?? last) ? [] : {};
    }
    place = place[name];
  }
  if (value !== undefined) place[last] = value;
  else if (Array.isArray(place)) place.splice(Number(last), 1);
  else delete place[last];
}

/**
 * A document as text, short lists on one line, with the range of characters of each value by its pointer.
 * @param {Json} document
 * @returns {{ text: string, ranges: Map<string, [number, number]> }}
 */
export function pretty(document) {
  /** @type {Map<string, [number, number]>} */
  const ranges = new Map();
  let text = "";
  /** @param {Json} value @param {string} pointer @param {string} indent */
  const write = (value, pointer, indent) => {
    const start = text.length;
    const line = JSON.stringify(value) ?? "null";
    const isPlain = value === null || typeof value !== "object";
    const entries = isPlain ? [] : Object.entries(value);
    if (isPlain || !entries.length || (Array.isArray(value) && value.every((each) => typeof each !== "object"))) {
      text += Array.isArray(value) ? `[${value.map((each) => JSON.stringify(each)).join(", ")}]` : line;
    } else {
      const [open, close] = Array.isArray(value) ? "[]" : "{}";
      text += `${open}\n`;
      entries.forEach(([name, each], i) => {
        text += `${indent}  ${Array.isArray(value) ? "" : `${JSON.stringify(name)}: `}`;
        write(each, `${pointer}/${escaped(name)}`, `${indent}  `);
        text += `${i < entries.length - 1 ? "," : ""}\n`;
      });
      text += `${indent}${close}`;
    }
    ranges.set(pointer, [start, text.length]);
  };
  write(document, "", "");
  return { text, ranges };
}

/**
 * Where documents differ: the values of each, by pointer, down to single values.
 * @param {Json[]} documents
 * @returns {{ pointer: string, values: Json[] }[]}
 */
export function differences(documents) {
  const flat = documents.map((document) => flattened(document));
  const pointers = [...new Set(flat.flatMap((each) => [...each.keys()]))];
  return pointers
    .map((pointer) => ({ pointer, values: flat.map((each) => each.get(pointer)) }))
    .filter(({ values }) => new Set(values.map((each) => JSON.stringify(each) ?? "")).size > 1);
}

/**
 * @param {Json} document
 * @param {string} [pointer]
 * @param {Map<string, Json>} [found]
 * @returns {Map<string, Json>}
 */
function flattened(document, pointer = "", found = new Map()) {
  const isList = Array.isArray(document) && document.every((each) => each === null || typeof each !== "object");
  if (document === null || typeof document !== "object" || isList) return found.set(pointer, document);
  for (const [name, value] of Object.entries(document)) flattened(value, `${pointer}/${escaped(name)}`, found);
  return found;
}

/** @param {Json} document @returns {Json} Without fields that say nothing: null, and empty objects. */
export function without(document) {
  if (Array.isArray(document)) return document.map(without);
  if (document === null || typeof document !== "object") return document;
  const kept = Object.entries(document).map(([name, value]) => [name, without(value)]);
  return Object.fromEntries(
    kept.filter(
      ([, value]) =>
        value !== null && !(typeof value === "object" && !Array.isArray(value) && !Object.keys(value).length),
    ),
  );
}
