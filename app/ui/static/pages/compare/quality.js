// @ts-check
// Quality against cost of the networks of several jobs.
import { el, fill } from "../../lib/dom.js";
import { shortId } from "../../lib/format.js";
import { href } from "../../lib/router.js";
import { LOWER_IS_BETTER, MAIN_METRICS, METRICS } from "../../lib/wording.js";
import { COSTS, pareto } from "../../parts/pareto.js";

/** @typedef {import("../compare.js").Entry} Entry */

const PARTIES = /** @type {const} */ (["student", "control"]);

/** @param {any} value @returns {boolean} */
export function known(value) {
  return value !== null && value !== undefined;
}

/** @param {Entry[]} entries @returns {HTMLElement} */
export function paretoOf(entries) {
  const options = entries.flatMap(({ report }) =>
    Object.entries(report.student?.tasks ?? {}).flatMap(([task, metrics]) =>
      MAIN_METRICS.filter((metric) => known(/** @type {any} */ (metrics)[metric])).map(
        (metric) => `${task}/${metric}`,
      ),
    ),
  );
  const quality = el(
    "select",
    null,
    ...[...new Set(options)].map((each) => el("option", { value: each }, words(each))),
  );
  const cost = el("select", null, ...COSTS.map((each, i) => el("option", { value: String(i) }, each.name)));
  const place = el("div");
  const draw = () => {
    const [task, metric] = splitLast(quality.value);
    const { name, of, unit } = COSTS[Number(cost.value)];
    fill(
      place,
      pareto(networksOf(entries, task, metric, of), {
        metric: words(quality.value),
        cost: name,
        unit,
        isLowerBetter: LOWER_IS_BETTER.has(metric),
      }),
    );
  };
  quality.addEventListener("change", draw);
  cost.addEventListener("change", draw);
  draw();
  return el(
    "div",
    null,
    el("div", { class: "filters" }, el("label", null, "Quality", quality), el("label", null, "Cost", cost)),
    place,
  );
}

/** @param {string} name @returns {[string, string]} */
function splitLast(name) {
  const place = name.lastIndexOf("/");
  return [name.slice(0, place), name.slice(place + 1)];
}

/** @param {string} name */
function words(name) {
  const [task, metric] = splitLast(name);
  return `${METRICS[metric] ?? metric} of ${task}`;
}

/** @param {Entry[]} entries @param {string} task @param {string} metric @param {(party: any) => number | null | undefined} costOf */
function networksOf(entries, task, metric, costOf) {
  const found = entries.flatMap(({ job, report }) => {
    const name = job.name ?? shortId(job.id);
    const own = PARTIES.map((party, i) => ({
      name,
      party: /** @type {string} */ (party),
      of: report[party],
      colour: `--c${i}`,
      href: href(`jobs/${encodeURIComponent(job.id)}`),
    }));
    const teachers = (report.teachers ?? [])
      .filter((/** @type {any} */ each) => !each.task || each.task === task)
      .map((/** @type {any} */ each) => ({
        name: each.name,
        party: "teacher",
        of: each,
        colour: "--c2",
        href: each.model
          ? href(`models/${encodeURIComponent(each.model)}`)
          : href(`jobs/${encodeURIComponent(job.id)}`),
      }));
    return [...own, ...teachers];
  });
  const usable = found.flatMap(({ of, ...rest }) => {
    const [value, cost] = [of?.tasks?.[task]?.[metric], of && costOf(of)];
    return known(value) && cost > 0 ? [{ ...rest, value, cost }] : [];
  });
  return usable.filter(
    (each, i) =>
      usable.findIndex(
        (other) => other.name === each.name && other.party === each.party && other.value === each.value,
      ) === i,
  );
}
