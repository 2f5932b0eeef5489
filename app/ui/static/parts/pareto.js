// @ts-check
// Quality against cost: a point for each network, and the line of those that no cheaper one equals.
import { el, svg } from "../lib/dom.js";
import { figure, short } from "../lib/format.js";

/** @typedef {{ name: string, party: string, href: string, cost: number, value: number, colour: string }} Network */

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [640, 330, 64, 24, 16, 46];

/**
 * @param {Network[]} networks
 * @param {{ metric: string, cost: string, unit: (value: number) => string, isLowerBetter: boolean }} names
 * @returns {HTMLElement}
 */
export function pareto(networks, { metric, cost, unit, isLowerBetter }) {
  if (!networks.length) return el("p", { class: "empty" }, `No job has both ${metric} and ${cost}.`);
  const x = scale(
    networks.map((each) => Math.log10(each.cost)),
    LEFT,
    WIDTH - RIGHT,
    0.06,
  );
  const y = scale(
    networks.map((each) => each.value),
    HEIGHT - BOTTOM,
    TOP,
    0.1,
  );
  const places = networks.map((each) => ({ ...each, x: x.at(Math.log10(each.cost)), y: y.at(each.value) }));
  const sign = isLowerBetter ? -1 : 1;
  const ordered = [...places].sort((a, b) => a.cost - b.cost || sign * (b.value - a.value));
  let best = -Infinity;
  const front = ordered.filter((each) => {
    const isBetter = sign * each.value > best;
    if (isBetter) best = sign * each.value;
    return isBetter;
  });
  const onFront = new Set(front);
  return el(
    "figure",
    { class: "chart" },
    el(
      "figcaption",
      null,
      `${metric} against ${cost}`,
      el("small", null, isLowerBetter ? "lower and further left is better" : "higher and further left is better"),
    ),
    svg(
      "svg",
      {
        class: "drawing",
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        style: { "max-width": "46rem" },
        role: "group",
        "aria-label": `${metric} against ${cost}: ${networks.length} networks`,
      },
      ...y
        .ticks()
        .map((value) =>
          svg(
            "g",
            null,
            svg("path", { class: "grid", d: `M${LEFT} ${y.at(value)}H${WIDTH - RIGHT}` }),
            svg("text", { class: "soft", x: LEFT - 6, y: y.at(value) + 4, "text-anchor": "end" }, figure(value)),
          ),
        ),
      ...costTicks(x.low, x.high).map((value) =>
        svg(
          "g",
          null,
          svg("path", { class: "grid", d: `M${x.at(Math.log10(value))} ${TOP}V${HEIGHT - BOTTOM}` }),
          svg(
            "text",
            { class: "soft", x: x.at(Math.log10(value)), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" },
            unit(value),
          ),
        ),
      ),
      svg("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }),
      svg(
        "text",
        { class: "soft", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" },
        `${cost}, logarithmic`,
      ),
      svg("path", {
        d: front.map((each, i) => `${i ? "L" : "M"}${each.x} ${each.y}`).join(""),
        fill: "none",
        stroke: "var(--c5)",
        "stroke-width": 1.5,
        "stroke-dasharray": "5 4",
      }),
      ...places.map((each, i) =>
        point(
          each,
          i,
          onFront.has(
            ordered.find((other) => other.x === each.x && other.y === each.y && other.name === each.name) ?? each,
          ),
          { metric, unit },
        ),
      ),
    ),
    legendOf(networks),
  );
}

/** @param {Network[]} networks @returns {HTMLElement} */
function legendOf(networks) {
  const colours = new Map(networks.map((each) => [each.party, each.colour]));
  const sample = (/** @type {import("../lib/dom.js").Props} */ looks) =>
    svg(
      "svg",
      { viewBox: "0 0 18 8", "aria-hidden": "true" },
      svg("path", { d: "M0 4H18", "stroke-width": 2.5, ...looks }),
    );
  return el(
    "ul",
    { class: "legend" },
    ...[...colours].map(([party, colour]) => el("li", null, sample({ stroke: `var(${colour})` }), " ", party)),
    el("li", null, sample({ stroke: "var(--c5)", "stroke-dasharray": "5 3" }), " no cheaper one is as good"),
  );
}

/**
 * @param {Network & { x: number, y: number }} each
 * @param {number} i
 * @param {boolean} isBest
 * @param {{ metric: string, unit: (value: number) => string }} names
 */
function point(each, i, isBest, { metric, unit }) {
  const words = `${each.name}, ${each.party}: ${metric} ${figure(each.value)}, ${unit(each.cost)}${isBest ? ", no cheaper one equals it" : ""}`;
  const isRight = each.x > WIDTH * 0.75;
  return svg(
    "a",
    { href: each.href, "aria-label": words },
    svg(
      "circle",
      { cx: each.x, cy: each.y, r: each.party === "student" ? 6 : 4.5, fill: `var(${each.colour})` },
      svg("title", null, words),
    ),
    each.party === "student"
      ? svg(
          "text",
          {
            x: each.x + (isRight ? -9 : 9),
            y: each.y + (i % 2 ? 14 : -6),
            "text-anchor": isRight ? "end" : "start",
          },
          each.name.slice(0, 28),
        )
      : null,
  );
}

/** @param {number[]} values @param {number} start @param {number} end @param {number} room */
function scale(values, start, end, room) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const extra = room * (most - least) || Math.abs(most) * 0.05 || 0.5;
  const [low, high] = [least - extra, most + extra];
  return {
    low,
    high,
    /** @param {number} value */
    at: (value) => Number((start + ((value - low) / (high - low)) * (end - start)).toFixed(1)),
    ticks() {
      const power = 10 ** Math.floor(Math.log10((high - low) / 5));
      const step = [1, 2, 5, 10].map((each) => each * power).find((each) => (high - low) / each <= 6) ?? power;
      const first = Math.ceil(low / step);
      return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) =>
        Number(((first + i) * step).toPrecision(10)),
      );
    },
  };
}

/** @param {number} low @param {number} high Logarithms. @returns {number[]} Few round costs. */
function costTicks(low, high) {
  for (const digits of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const found = [];
    for (let power = Math.floor(low); power <= high; power += 1) {
      for (const digit of digits) found.push(digit * 10 ** power);
    }
    const inside = found.filter((each) => Math.log10(each) >= low && Math.log10(each) <= high);
    if (inside.length >= 2) return inside.filter((_, i) => i % Math.ceil(inside.length / 7) === 0);
  }
  return [10 ** ((low + high) / 2)];
}

export const COSTS = [
  { name: "parameters", of: (/** @type {any} */ party) => party.parameters, unit: short },
  {
    name: "file size",
    of: (/** @type {any} */ party) => party.bytes,
    unit: (/** @type {number} */ value) => `${short(value)}B`,
  },
  { name: "FLOPs of a row", of: (/** @type {any} */ party) => party.flops, unit: short },
  {
    name: "time of one row",
    of: (/** @type {any} */ party) => party.latency?.["1"]?.median_ms,
    unit: (/** @type {number} */ value) => `${figure(value)} ms`,
  },
  {
    name: "time of 64 rows",
    of: (/** @type {any} */ party) => party.latency?.["64"]?.median_ms,
    unit: (/** @type {number} */ value) => `${figure(value)} ms`,
  },
];
