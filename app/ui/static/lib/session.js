// @ts-check
// Who is signed in. The key is in an HttpOnly cookie that scripts cannot read; what is here is in memory alone.

/** @typedef {{ csrf: string, expires_at: string, key: { id: string, name: string, prefix: string }, version: string }} Session */

/** @type {Session | null} */
let current = null;
/** @type {((code: string) => Promise<Session>) | null} */
let asks = null;
/** @type {Promise<Session> | null} */
let asking = null;

/** @returns {Session | null} */
export function session() {
  return current;
}

/** @param {Session | null} found */
export function begin(found) {
  current = found;
  document.dispatchEvent(new CustomEvent("session"));
}

/** @param {(code: string) => Promise<Session>} ask What shows the sign-in and resolves after the sign-in. */
export function askBy(ask) {
  asks = ask;
}

/**
 * Ask for a key, once for all requests that wait for it.
 * @param {string} code Code of the 401.
 * @returns {Promise<Session>}
 */
export function renew(code) {
  if (!asks) throw new Error("nothing shows the sign-in");
  asking ??= asks(code).finally(() => {
    asking = null;
  });
  return asking;
}
