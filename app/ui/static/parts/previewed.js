// @ts-check
// From the row of a preview back to the row that a model takes.
import { ApiError } from "../lib/api.js";
import { el } from "../lib/dom.js";

const CHANNELS = 4;

/**
 * Why a row of a preview cannot be sent to a model: a preview is made for people, with small images, features of sounds
 * and the first numbers, and says of each input whether it is the whole.
 * @param {any} row
 * @param {any} model
 * @returns {string | null} null where it can.
 */
export function missingOf(row, model) {
  const read = Object.entries(model.raw_inputs);
  for (const [name, input] of read) {
    const reason = missing(name, row.inputs[name], input, read.length === 1);
    if (reason) return reason;
  }
  return read.length ? null : "it is not known what the model reads";
}

/**
 * @param {string} name
 * @param {any} value
 * @param {any} input
 * @param {boolean} isAlone
 * @returns {string | null}
 */
function missing(name, value, input, isAlone) {
  if (!value) return `the dataset has no input ${name}`;
  if (value.image) {
    const isSent = input.image ? isAlone : !input.audio && input.dtype === "uint8";
    return value.whole && isSent ? null : `of ${name} there is a picture here, not what the model reads`;
  }
  if (value.text !== undefined) {
    if (!input.tokens) return `the model reads ${name} as numbers, and here is a text`;
    if (input.tokens.ids) return `the model reads ${name} as ids of tokens, and here is its text`;
    if (input.tokens.words) return `the model reads ${name} as lists of words, which are one text here`;
    if (input.columns?.length === 2) return `the model reads pairs of texts as ${name}, which are one text here`;
    return value.whole ? null : `of the text ${name} there may be a part alone here`;
  }
  if (input.tokens && !input.tokens.ids) return `the model reads ${name} as text, and here are numbers`;
  return value.whole ? null : `of ${name} there may be a part of the numbers alone here`;
}

/**
 * The request that asks a model about a row of a preview. Raises ApiError where a preview has not all of the row: it is made
 * for people, with small images and the first numbers.
 * @param {any} row
 * @param {any} model
 * @returns {Promise<import("../lib/api.js").Options>}
 */
export async function requestOf(row, model) {
  const read = Object.keys(model.raw_inputs);
  const reason = missingOf(row, model);
  if (reason) throw notWhole(reason);
  const [first] = read;
  if (row.inputs[first].image && model.raw_inputs[first].image) {
    return { raw: bytesOf(row.inputs[first].image), type: "image/png" };
  }
  const entries = await Promise.all(
    read.map(async (name) => [name, [await valueOf(name, row.inputs[name], model.raw_inputs[name])]]),
  );
  return { body: { inputs: Object.fromEntries(entries) } };
}

/** @param {string} reason @returns {ApiError} */
function notWhole(reason) {
  return new ApiError(
    400,
    "row_not_whole",
    `This row cannot be asked from here: ${reason}. Write it as JSON, or choose a file.`,
  );
}

/** @param {string} address A data URL, which `connect-src` lets no request read. @returns {Blob} */
function bytesOf(address) {
  const text = atob(address.slice(address.indexOf(",") + 1));
  return new Blob([Uint8Array.from(text, (each) => each.charCodeAt(0))], { type: "image/png" });
}

/** @param {string} name @param {any} value @param {any} input What the model takes. */
async function valueOf(name, value, input) {
  if (value.text !== undefined) return value.text;
  const shape = input?.shape?.every(Number.isInteger) && input.shape.length ? input.shape : (value.shape ?? []);
  if (value.image) {
    return nested(await pixelsOf(value.image, shape), shape);
  }
  if (value.values.length !== sizeOf(shape))
    throw notWhole(`the preview has the first ${value.values.length} numbers of ${name} alone`);
  return nested(value.values, shape);
}

/** @param {number[]} shape @returns {number} */
function sizeOf(shape) {
  return shape.reduce((product, side) => product * side, 1);
}

/**
 * The pixels of an image that a preview has drawn of an array of bytes, in the order of the array.
 * @param {string} address
 * @param {number[]} shape
 * @returns {Promise<number[]>}
 */
async function pixelsOf(address, shape) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = el("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = canvas.width * canvas.height;
  const channels = sizeOf(shape) / pixels;
  if (channels !== 1 && channels !== 3) throw notWhole("the preview has a smaller picture of it");
  const isLast = channels === 3 && shape.at(-1) === channels;
  const place = (/** @type {number} */ i) =>
    isLast
      ? CHANNELS * Math.floor(i / channels) + (i % channels)
      : CHANNELS * (i % pixels) + Math.floor(i / pixels);
  return Array.from({ length: pixels * channels }, (_, i) => data[place(i)]);
}

/** @param {any[]} flat @param {number[]} shape @returns {any} Nested lists in the shape of a row. */
export function nested(flat, shape) {
  if (shape.length < 2) return shape.length || flat.length !== 1 ? flat : flat[0];
  const size = flat.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => nested(flat.slice(i * size, (i + 1) * size), shape.slice(1)));
}
