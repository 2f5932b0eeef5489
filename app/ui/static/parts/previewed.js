// @ts-check
// From the row of a preview back to the row that a model takes.
import { ApiError } from "../lib/api.js";
import { el } from "../lib/dom.js";

const CHANNELS = 4;

/**
 * The request that asks a model about a row of a preview. Raises ApiError where a preview has not all of the row: it is made
 * for people, with small images and the first numbers.
 * @param {any} row
 * @param {any} model
 * @returns {Promise<import("../lib/api.js").Options>}
 */
export async function requestOf(row, model) {
  const read = Object.keys(model.raw_inputs);
  const names = Object.keys(row.inputs).filter((name) => !read.length || read.includes(name));
  if (names.length < read.length)
    throw notWhole(`the dataset has no input ${read.find((name) => !names.includes(name))}`);
  const [first] = names;
  if (names.length === 1 && row.inputs[first].image && model.raw_inputs[first]?.image) {
    return { raw: bytesOf(row.inputs[first].image), type: "image/png" };
  }
  const entries = await Promise.all(
    names.map(async (name) => [name, [await valueOf(name, row.inputs[name], model.raw_inputs[name])]]),
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
  if (value.text !== undefined) return input?.columns?.length === 2 ? value.text.split("\n") : value.text;
  const shape = input?.shape?.every(Number.isInteger) && input.shape.length ? input.shape : (value.shape ?? []);
  if (value.image) {
    if (input?.dtype !== "uint8") throw notWhole(`the preview has a picture of ${name}, not its numbers`);
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
