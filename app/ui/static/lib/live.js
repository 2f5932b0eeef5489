// @ts-check
// What keeps a page up to date: polling and the stream of a job's events. Both rest while the page is hidden, and try
// again in growing steps while the service does not answer.
import { ApiError, get, request } from "./api.js";

const LONGEST_WAIT = 30_000;

/** @typedef {{ stop: () => void, now: () => void }} Handle */

/** @type {Map<object, { at: number, detail: string }>} */
const away = new Map();
/** @type {Set<() => void>} */
const sleepers = new Set();

/** @returns {{ at: number, detail: string } | null} When the service is tried again next; null while it answers. */
export function nextTry() {
  const all = [...away.values()].sort((a, b) => a.at - b.at);
  return all[0] ?? null;
}

/** Try at once whatever waits. */
export function tryNow() {
  for (const wake of [...sleepers]) wake();
}

/** @param {object} source @param {{ at: number, detail: string } | null} state */
function report(source, state) {
  if (state) away.set(source, state);
  else if (!away.delete(source)) return;
  document.dispatchEvent(new CustomEvent("connection"));
}

/**
 * Wait so many milliseconds, until woken, or until the signal.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
function sleep(milliseconds, signal) {
  return /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        sleepers.delete(end);
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      sleepers.add(end);
      signal.addEventListener("abort", end);
    })
  );
}

/** @param {AbortSignal} signal Wait until the page can be seen. */
async function seen(signal) {
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => {
      const options = { once: true };
      document.addEventListener("visibilitychange", resolve, options);
      signal.addEventListener("abort", resolve, options);
    });
  }
}

/**
 * Run a task again and again, `every` so many milliseconds. It ends where the task returns false, where it raises an
 * error that no repetition cures (which `onError` gets), and with the signal.
 * @param {(signal: AbortSignal) => Promise<boolean | void>} task
 * @param {{ every?: number, signal: AbortSignal, onError?: (error: ApiError) => void }} options
 * @returns {Handle}
 */
export function poll(task, { every = 2000, signal, onError }) {
  const own = new AbortController();
  const both = AbortSignal.any([signal, own.signal]);
  /** @type {() => void} */
  let wake = () => {};
  const run = async () => {
    let failures = 0;
    while (!both.aborted) {
      await seen(both);
      if (both.aborted) return;
      let wait = every;
      try {
        if ((await task(both)) === false) return;
        failures = 0;
        report(own, null);
      } catch (error) {
        if (both.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        if (!error.isTemporary) {
          onError?.(error);
          return;
        }
        failures += 1;
        wait = Math.min(LONGEST_WAIT, Math.max(every * 2 ** (failures - 1), 1000 * (error.retryAfter ?? 0)));
        report(own, { at: Date.now() + wait, detail: error.detail });
      }
      const pause = new AbortController();
      wake = () => pause.abort();
      await sleep(wait, AbortSignal.any([both, pause.signal]));
    }
  };
  run().finally(() => report(own, null));
  return { stop: () => own.abort(), now: () => wake() };
}

/** Types of events that a page reads all of: of `progress` a job of hours has tens of thousands. */
const FEW = ["state", "phase", "checkpoint", "warning"];
const MOST_PROGRESS = 500;
const PAGE = 200;

/**
 * The events of a job up to now: of progress an even sample, of the others all.
 * @param {string} job
 * @param {AbortSignal} signal
 * @returns {Promise<{ events: any[], last: number, few: number }>} `last`: from where on to follow it; of the types
 *   that are FEW the events up to `few` are among these.
 */
async function past(job, signal) {
  const path = `v1/jobs/${encodeURIComponent(job)}/events`;
  const { data: progress } = await get(path, { type: ["progress"], sample: MOST_PROGRESS }, signal);
  const found = [];
  for (let after = null, more = true; more; ) {
    const page = await get(path, { type: FEW, limit: PAGE, after }, signal);
    found.push(...page.data);
    [more, after] = [page.has_more, page.next];
  }
  const few = found.at(-1)?.seq ?? 0;
  const events = [...progress, ...found].sort((one, other) => one.seq - other.seq);
  return { events, last: progress.at(-1)?.seq ?? few, few };
}

/**
 * Follow the events of a job, each once: first those that there are, of progress a sample. While the page is hidden the
 * stream is closed, so that it holds none of the few connections that a browser has for a host; it goes on after the
 * last event that was seen. The EventSource of browsers neither tells the status of an answer nor begins at an event,
 * hence the own reader.
 * @param {string} job
 * @param {{ signal: AbortSignal, onEvents: (events: any[]) => void, isEnded: () => boolean, onError: (error: ApiError) => void }} options
 * @returns {Handle}
 */
export function follow(job, { signal, onEvents, isEnded, onError }) {
  /** @type {{ last: number, few: number } | null} */
  let seen = null;
  return poll(
    async (both) => {
      if (!seen) {
        const { events, ...rest } = await past(job, both);
        seen = rest;
        onEvents(events);
      }
      const pause = new AbortController();
      const hide = () => document.hidden && pause.abort();
      document.addEventListener("visibilitychange", hide);
      try {
        const answer = await request("GET", `v1/jobs/${encodeURIComponent(job)}/events`, {
          signal: AbortSignal.any([both, pause.signal]),
          accept: "text/event-stream",
          headers: { "Last-Event-ID": String(seen.last) },
        });
        if (answer.status === 204 || !answer.body) return false;
        for await (const events of frames(answer.body)) {
          const { few } = seen;
          onEvents(events.filter(({ seq, type }) => seq > few || type === "progress"));
          seen.last = Math.max(seen.last, ...events.map((each) => each.seq));
        }
      } catch (error) {
        if (pause.signal.aborted) return undefined;
        if (error instanceof ApiError || both.aborted) throw error;
        throw new ApiError(0, "service_away", "The stream of events was interrupted.");
      } finally {
        document.removeEventListener("visibilitychange", hide);
      }
      return isEnded() ? false : undefined;
    },
    { every: 1000, signal, onError },
  );
}

/**
 * The events of a stream, those of each piece together.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<any[]>}
 */
async function* frames(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let open = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (open + value).split("\n\n");
    open = parts.pop() ?? "";
    const events = parts.flatMap((part) => {
      const data = part
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trim());
      return data.length ? [JSON.parse(data.join("\n"))] : [];
    });
    if (events.length) yield events;
  }
}
