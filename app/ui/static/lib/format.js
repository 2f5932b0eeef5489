// @ts-check
// Numbers with units, and times in the viewer's zone.
import { el } from "./dom.js";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const DASH = "–";

/** @param {number | null | undefined} value @returns {string} A whole number, its thousands grouped. */
export function count(value) {
  return value === null || value === undefined ? DASH : WHOLE.format(value);
}

/**
 * "1 job", "2 jobs".
 * @param {number} value
 * @param {string} noun
 * @returns {string}
 */
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** @param {number | null | undefined} value @returns {string} A measured number, with four digits that matter. */
export function figure(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2).replace("e+", "e");
  if (Number.isInteger(value)) return count(value);
  if (size >= 1000) return WHOLE.format(value);
  return String(Number(value.toPrecision(4)));
}

/** @param {number | null | undefined} value @returns {string} With its sign. */
export function signed(value) {
  if (value === null || value === undefined) return DASH;
  return `${value > 0 ? "+" : value < 0 ? "−" : "±"}${figure(Math.abs(value))}`;
}

/** @param {number | null | undefined} value From 0 to 1. @returns {string} */
export function share(value) {
  return value === null || value === undefined ? DASH : `${Number((100 * value).toFixed(1))} %`;
}

const BYTES = ["bytes", "kB", "MB", "GB", "TB", "PB"];

/** @param {number | null | undefined} value @returns {string} */
export function bytes(value) {
  if (value === null || value === undefined) return DASH;
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < BYTES.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : Number(size.toPrecision(3))} ${BYTES[unit]}`;
}

/** @param {number | null | undefined} value @returns {string} A large number, short: 12.3 M. */
export function short(value) {
  if (value === null || value === undefined) return DASH;
  for (const [size, unit] of /** @type {[number, string][]} */ ([
    [1e12, " T"],
    [1e9, " G"],
    [1e6, " M"],
    [1e3, " k"],
  ])) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return figure(value);
}

/** @param {number | null | undefined} seconds @returns {string} */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return DASH;
  if (seconds < 10) return `${Number(Math.max(0, seconds).toFixed(1))} s`;
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value);
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(" ");
}

/** @param {string} from @param {string | null} [to] @returns {number} Seconds between two times, or until now. */
export function secondsBetween(from, to) {
  return ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
}

const DAY = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @param {string} time @returns {string} In the viewer's zone; of today the time of day alone. */
export function when(time) {
  const date = new Date(time);
  return date.toDateString() === new Date().toDateString() ? `today ${CLOCK.format(date)}` : DAY.format(date);
}

/** @param {string | null | undefined} time @returns {HTMLElement | string} The same as an element that also has it in UTC. */
export function timeOf(time) {
  if (!time) return DASH;
  const utc = `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  return el("time", { datetime: time, title: utc }, when(time));
}

/** @param {string} id @returns {string} An id short enough for a table: its kind and last characters. */
export function shortId(id) {
  const [kind, rest] = id.split("_");
  return rest ? `${kind}_…${rest.slice(-6)}` : id;
}
