// @ts-check
// Sign-in and sign-out. The key goes to the service once, in the body of a request, and is kept nowhere here.
import { ApiError, send } from "../lib/api.js";
import { el, newId, toast } from "../lib/dom.js";
import { show } from "../lib/router.js";
import { askBy, begin, renew, session } from "../lib/session.js";
import { signInReason } from "../lib/wording.js";

/** Show the sign-in wherever a request needs a session. */
export function install() {
  askBy(ask);
}

/** @returns {Promise<void>} Find the session of the cookie, or ask for a sign-in. */
export async function start() {
  const found = await send("GET", "ui/session");
  if (found) begin(found);
  else await renew("session_needed");
}

/** End the session; everything that the page holds goes with it. */
export async function signOut() {
  try {
    await send("DELETE", "ui/session", { open: true });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status !== 401) {
      toast(`Not signed out: ${error.detail}`);
      return;
    }
  }
  location.reload();
}

/**
 * @param {string} code
 * @returns {Promise<import("../lib/session.js").Session>}
 */
function ask(code) {
  const before = session();
  const reason = signInReason(code, before !== null);
  const title = document.title;
  document.title = "Sign in · Stillhouse";
  document.body.dataset.locked = ""; // what the page shows is for who has a session
  return new Promise((resolve) => {
    const dialog = form(reason, (found) => {
      dialog.close();
      dialog.remove();
      document.title = title;
      delete document.body.dataset.locked;
      begin(found);
      resolve(found);
      if (before && before.key.id !== found.key.id) show();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * @param {string} reason
 * @param {(found: any) => void} onDone
 * @returns {HTMLDialogElement}
 */
function form(reason, onDone) {
  const [title, wrong, hint] = [newId("sign-in"), newId("wrong"), newId("hint")];
  const key = el("input", {
    id: newId("key"),
    type: "password",
    name: "key",
    required: true,
    autocomplete: "current-password",
    spellcheck: "false",
    autofocus: true,
    "aria-describedby": `${wrong} ${hint}`,
  });
  const message = el("p", { id: wrong, class: "problem", role: "alert" });
  const button = el("button", { type: "submit", class: "primary" }, "Sign in");
  const inner = el(
    "form",
    null,
    el(
      "div",
      { class: "field" },
      el("input", { type: "text", autocomplete: "username", value: "API key", hidden: true }),
      el("label", { for: key.id }, "API key"),
      key,
      message,
      el(
        "small",
        { id: hint },
        "It begins with sth_. ",
        el("code", null, "stillhouse keys create NAME"),
        " makes one; the first one is in the file admin.key of the service's data folder.",
      ),
    ),
    el("div", { class: "buttons" }, button),
  );
  inner.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    message.textContent = "";
    key.removeAttribute("aria-invalid");
    try {
      onDone(await send("POST", "ui/session", { body: { key: key.value.trim() }, open: true }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      message.textContent = error.detail;
      key.setAttribute("aria-invalid", "true");
      key.select();
      key.focus();
    } finally {
      button.disabled = false;
    }
  });
  const dialog = el(
    "dialog",
    { class: "sign-in", "aria-labelledby": title },
    el("h1", { id: title }, "Sign in to Stillhouse"),
    reason ? el("p", { role: "status" }, reason) : null,
    inner,
  );
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  return dialog;
}
