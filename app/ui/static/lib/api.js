// @ts-check
// Every request of the dashboard. A request that needs a session waits for the sign-in and is then sent again, so that
// whatever was going on goes on.
import { begin, renew, session } from "./session.js";
import { OWN_ERRORS } from "./wording.js";

/** @typedef {any} Json What the service answers; its OpenAPI document describes it. */
/** @typedef {Record<string, string | number | boolean | string[] | null | undefined>} Query */
/** @typedef {{ query?: Query, signal?: AbortSignal, body?: Json, raw?: BodyInit, type?: string, headers?: Record<string, string>, open?: boolean, accept?: string }} Options */

/** The folder of the dashboard, such as `https://host/prefix/ui/`. */
export const BASE = new URL("../../", import.meta.url);
const ROOT = new URL("../", BASE);

/** An error with its code, as application/problem+json has it; status 0 where the service did not answer. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} detail
   * @param {{ pointer: string, code: string, detail: string }[]} [errors]
   * @param {number | null} [retryAfter] Seconds.
   */
  constructor(status, code, detail, errors = [], retryAfter = null) {
    super(detail);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.errors = errors;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get isTemporary() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/**
 * The address of a path such as `v1/jobs`, below whatever prefix the service has.
 * @param {string} path
 * @param {Query} [query]
 * @returns {string}
 */
export function address(path, query) {
  const found = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") found.searchParams.append(name, String(each));
    }
  }
  return found.href;
}

/** @param {string} path @param {Query} [query] @param {AbortSignal} [signal] @returns {Promise<Json>} */
export async function get(path, query, signal) {
  return parsed(await request("GET", path, { query, signal }));
}

/** @param {string} method @param {string} path @param {Options} [options] @returns {Promise<Json>} null where there is no body. */
export async function send(method, path, options) {
  return parsed(await request(method, path, options));
}

/** @param {string} path @param {Query} [query] @param {AbortSignal} [signal] @returns {Promise<string>} */
export async function text(path, query, signal) {
  return (await request("GET", path, { query, signal, accept: "*/*" })).text();
}

/**
 * Send a request. Raises ApiError for every answer that is no success, and AbortError where `signal` says so.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options] `open`: it needs no session, and a 401 is raised.
 * @returns {Promise<Response>}
 */
export async function request(method, path, options = {}) {
  for (let isFirst = true; ; isFirst = false) {
    const answer = await once(method, path, options);
    if (answer.ok) return answer;
    const error = await problemOf(answer);
    if (error.code === "csrf_token_needed" && isFirst) await takeUp(error);
    else if (error.status !== 401 || options.open) throw error;
    else await renew(error.code);
    options.signal?.throwIfAborted();
  }
}

/**
 * Take up the session that the browser has now: another tab may have begun it. Raises ApiError where it is another
 * key's, under which nothing is done unasked.
 * @param {ApiError} refused
 */
async function takeUp(refused) {
  const answer = await once("GET", "ui/session", {});
  if (answer.status === 401) return;
  if (answer.status !== 200) throw refused;
  const found = await parsed(answer);
  const before = session()?.key;
  begin(found);
  if (before && before.id !== found.key.id) {
    throw new ApiError(
      403,
      "another_session",
      `This browser was signed in with the key ${found.key.name} in another tab, and ${before.name} is signed out. ` +
        `Nothing was changed: repeat it to do it with ${found.key.name}.`,
    );
  }
}

/** @param {string} method @param {string} path @param {Options} options @returns {Promise<Response>} */
async function once(method, path, options) {
  /** @type {Record<string, string>} */
  const headers = { Accept: options.accept ?? "application/json", ...options.headers };
  const csrf = session()?.csrf;
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  /** @type {BodyInit | undefined} */
  let body = options.raw;
  if (options.body !== undefined) body = JSON.stringify(options.body);
  if (body !== undefined) headers["Content-Type"] = options.type ?? "application/json";
  try {
    return await fetch(address(path, options.query), {
      method,
      headers,
      body,
      signal: options.signal,
      credentials: "same-origin",
      cache: "no-store",
      redirect: "follow",
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "service_away", OWN_ERRORS.service_away);
  }
}

/** @param {Response} answer @returns {Promise<Json>} */
async function parsed(answer) {
  if (answer.status === 204) return null;
  try {
    return await answer.json();
  } catch (error) {
    if (error instanceof DOMException) throw error;
    throw new ApiError(502, "not_json", OWN_ERRORS.not_json);
  }
}

/** @param {Response} answer @returns {Promise<ApiError>} */
async function problemOf(answer) {
  const wait = Number(answer.headers.get("Retry-After")) || null;
  try {
    const found = await answer.json();
    return new ApiError(
      answer.status,
      found.code ?? "unknown",
      found.detail ?? found.title ?? "",
      found.errors ?? [],
      wait,
    );
  } catch {
    return new ApiError(
      answer.status,
      "not_json",
      `${OWN_ERRORS.not_json} Its status was ${answer.status}.`,
      [],
      wait,
    );
  }
}

/** @returns {string} A key under which a POST is done once, however often it is sent. */
export function idempotencyKey() {
  const numbers = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(numbers, (each) => each.toString(16).padStart(2, "0")).join("");
}
