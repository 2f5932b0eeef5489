// @ts-check
// The metric series of a job: fetched little by little while it runs, and grouped into charts.
import { get } from "./api.js";
import { MAIN_METRICS, METRICS } from "./wording.js";

/** @typedef {{ step: number, epoch: number, time: string, value: number | null }} Point */
/**
 * @typedef {object} Line
 * @property {string} name Of the series.
 * @property {string} party Whose run it is: `student`, `control`, `repeat-1/control` …
 * @property {string} own What it is beside the party, such as its task.
 * @property {string} label What tells it from the other lines of its chart.
 * @property {Point[]} points
 */
/** @typedef {{ key: string, title: string, rank: number, lines: Line[] }} Group */

const MOST_POINTS = 500;
const FEW_POINTS = 60;
/** Points of all series that a page keeps, about. */
const ROOM = 24_000;
/** Updates without anything new until everything is fetched again; twice as many each time that this brings nothing. */
const QUIET_TICKS = 2;
const MOST_QUIET_TICKS = 64;
/** Updates until everything is fetched again for the first time; then twice as many, and so on. */
const FIRST_REFRESH = 15;

/**
 * The series of one job. A step asks for new points alone: those after the last step of the runs that advance. Runs
 * begin one after the other (student, control, further seeds), each at step 1: everything is fetched again, thinned,
 * where nothing new came although the job trains, and now and then.
 */
export class Feed {
  /** @param {string} job */
  constructor(job) {
    this.job = job;
    /** @type {Map<string, Point[]>} */
    this.series = new Map();
    /** @type {Map<string, number>} Ticks since a run advanced, by its prefix. */
    this.idle = new Map();
    this.quiet = 0;
    this.patience = QUIET_TICKS;
    this.ticks = 0;
    this.refresh = 0;
  }

  /** @param {AbortSignal} signal @param {{ all?: boolean }} [options] @returns {Promise<boolean>} Whether there is anything new. */
  async update(signal, { all = false } = {}) {
    const isFull = all || this.ticks >= this.refresh || this.quiet >= this.patience || this._isLong();
    if (isFull) this.refresh = Math.max(FIRST_REFRESH, 2 * this.ticks);
    this.ticks += 1;
    const since = isFull ? null : this._since();
    const found = await get(
      `v1/jobs/${encodeURIComponent(this.job)}/metrics`,
      { points: this._points(), since },
      signal,
    );
    const isNew = since === null ? this._replace(found.series) : this._add(found.series);
    if (isNew) this.patience = QUIET_TICKS;
    else if (isFull) this.patience = Math.min(MOST_QUIET_TICKS, 2 * this.patience);
    this.quiet = isNew || isFull ? 0 : this.quiet + 1;
    return isNew;
  }

  _points() {
    return Math.max(FEW_POINTS, Math.min(MOST_POINTS, Math.floor(ROOM / Math.max(1, this.series.size))));
  }

  _isLong() {
    return [...this.series.values()].some((points) => points.length > 2 * MOST_POINTS);
  }

  /** @returns {number | null} The step after which points are new, of the runs that advance; null where none does. */
  _since() {
    const advancing = [...this.series]
      .filter(([name]) => (this.idle.get(divided(name).party) ?? 0) <= QUIET_TICKS)
      .map(([, points]) => points.at(-1)?.step ?? 0);
    return advancing.length ? Math.min(...advancing) : null;
  }

  /** @param {Record<string, Point[]>} series */
  _replace(series) {
    const before = this._ends();
    this.series = new Map(Object.entries(series));
    this._advance(before);
    return before !== this._ends();
  }

  /** @param {Record<string, Point[]>} series */
  _add(series) {
    const before = this._ends();
    for (const [name, points] of Object.entries(series)) {
      const first = points[0]?.step ?? Infinity;
      const kept = (this.series.get(name) ?? []).filter((point) => point.step < first);
      this.series.set(name, [...kept, ...points]);
    }
    this._advance(before);
    return before !== this._ends();
  }

  _ends() {
    return [...this.series].map(([name, points]) => `${name}:${points.at(-1)?.step}`).join("\n");
  }

  /** @param {string} before */
  _advance(before) {
    const old = new Set(before.split("\n"));
    /** @type {Set<string>} */
    const moved = new Set();
    for (const [name, points] of this.series)
      if (!old.has(`${name}:${points.at(-1)?.step}`)) moved.add(divided(name).party);
    for (const name of this.series.keys()) {
      const { party } = divided(name);
      if (moved.has(party)) this.idle.set(party, 0);
    }
    for (const [party, ticks] of this.idle) if (!moved.has(party)) this.idle.set(party, ticks + 1);
  }
}

const KINDS = ["train/", "validation/", "weight/", "gradient/", "affinity/", "relation/", "temperature/"];

/** @param {string} name @returns {{ party: string, measure: string }} `control/train/loss` is of `control`; without a party it is the student's. */
function divided(name) {
  const places = KINDS.map((kind) => name.search(new RegExp(`(^|/)${kind}`))).filter((place) => place >= 0);
  const first = places.length ? Math.min(...places) : 0;
  return { party: name.slice(0, first) || "student", measure: name.slice(first).replace(/^\//, "") };
}

/** @typedef {{ key: string, title: string, rank: number, line: string }} Place */

/**
 * The chart of a measure; null for what is drawn as a heat map.
 * @param {string} measure
 * @returns {Place | null}
 */
function placed(measure) {
  const [kind, ...rest] = measure.split("/");
  const last = rest.at(-1) ?? "";
  const before = rest.slice(0, -1).join("/");
  const all = rest.join("/");
  if (measure === "train/loss") return { key: "loss", title: "Loss", rank: 0, line: "training" };
  if (measure === "validation/loss") return { key: "loss", title: "Loss", rank: 0, line: "validation" };
  if (last === "learning_rate") return { key: "rate", title: "Learning rate", rank: 4, line: "" };
  if (last === "temperature") return { key: "temperature", title: "Temperature", rank: 5, line: before };
  switch (kind) {
    case "validation": {
      const order = MAIN_METRICS.indexOf(last);
      const rank = 1 + (order < 0 ? MAIN_METRICS.length : order) / 100;
      return { key: `validation/${last}`, title: `Validation: ${METRICS[last] ?? last}`, rank, line: before };
    }
    case "train":
      return last === "loss"
        ? { key: "task-loss", title: "Training loss of each task", rank: 2, line: before }
        : { key: "terms", title: "Terms of the training loss", rank: 3, line: all.replaceAll("/", ", ") };
    case "weight":
      return { key: "weight", title: "Weights of the tasks", rank: 5, line: all };
    case "temperature":
      return { key: "temperature", title: "Temperature", rank: 5, line: all };
    case "gradient":
      return last === "norm"
        ? { key: "norm", title: "Norms of the tasks' gradients", rank: 6, line: before }
        : null;
    case "affinity":
    case "relation":
      return null;
    default:
      return { key: measure, title: measure, rank: 7, line: "" };
  }
}

/** @param {Map<string, Point[]>} series @returns {Group[]} Series of one unit together, in the order of the charts. */
export function grouped(series) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const [name, points] of series) {
    const { party, measure } = divided(name);
    const place = placed(measure);
    if (!place || !points.length) continue;
    const group = groups.get(place.key) ?? {
      key: place.key,
      title: place.title,

      rank: place.rank,
      lines: [],
    };
    groups.set(place.key, group);
    group.lines.push({ name, party, own: place.line, label: "", points });
  }
  for (const group of groups.values()) group.lines = named(group.lines);
  return [...groups.values()].sort((a, b) => a.rank - b.rank || (a.title < b.title ? -1 : 1));
}

/** @param {string} party @returns {string} A baseline is a control by what it is. */
function partyWords(party) {
  return party.startsWith("baseline") ? party.replace(/\/control$/, "") : party.replace("/", ", ");
}

/** @param {string} party @returns {number} The student first, then its control, others, and further seeds. */
function rankOf(party) {
  if (party === "student") return 0;
  if (party === "control") return 1;
  return party.startsWith("repeat") ? 3 : 2;
}

/** @param {Line[]} lines @returns {Line[]} With labels that tell them apart and say no more, the student first. */
function named(lines) {
  const isOne = (/** @type {"party" | "own"} */ each) => new Set(lines.map((line) => line[each])).size === 1;
  const [isOneParty, isOneOwn] = [isOne("party"), isOne("own")];
  const labelled = lines.map((line) => {
    const words = [
      isOneParty && !isOneOwn && line.party === "student" ? "" : partyWords(line.party),
      isOneOwn ? "" : line.own,
    ];
    return { ...line, label: words.filter(Boolean).join(", ") };
  });
  return labelled.sort((a, b) => rankOf(a.party) - rankOf(b.party) || (a.label < b.label ? -1 : 1));
}

/**
 * A square table of tasks over time, of series `<kind>/<task>/<task>[/<last>]`.
 * @param {Map<string, Point[]>} series
 * @param {string[]} tasks
 * @param {string} kind
 * @param {string} [last]
 * @returns {{ steps: number[], at: (step: number) => (number | null)[][] }}
 */
export function tableOverTime(series, tasks, kind, last = "") {
  const end = last ? `/${last}` : "";
  const of = (/** @type {string} */ a, /** @type {string} */ b) => series.get(`${kind}/${a}/${b}${end}`);
  const cells = tasks.map((a) => tasks.map((b) => of(a, b) ?? (last === "cosine" ? of(b, a) : undefined) ?? []));
  const steps = [...new Set(cells.flat(2).map((point) => point.step))].sort((a, b) => a - b);
  const valueAt = (/** @type {Point[]} */ points, /** @type {number} */ step) =>
    points.findLast((point) => point.step <= step)?.value ?? null;
  return { steps, at: (step) => cells.map((row) => row.map((points) => valueAt(points, step))) };
}
