// @ts-check
// Questions in dialogs.
import { ApiError } from "../lib/api.js";
import { el, newId } from "../lib/dom.js";
import { problem } from "./bits.js";

/**
 * Ask before something is done, do it while the dialog is open, and show there what went wrong.
 * @param {{ title: string, text: import("../lib/dom.js").Children, action: string, isDangerous?: boolean }} question
 * @param {() => Promise<void>} act
 */
export function confirm({ title, text, action, isDangerous = false }, act) {
  const id = newId("dialog");
  const place = el("div");
  const yes = el("button", { type: "button", class: isDangerous ? "danger" : "primary" }, action);
  const no = el("button", { type: "button", autofocus: true }, "Go back");
  const dialog = el(
    "dialog",
    { "aria-labelledby": id },
    el("h2", { id }, title),
    el("p", null, ...[text].flat()),
    place,
    el("div", { class: "buttons" }, no, yes),
  );
  no.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  yes.addEventListener("click", async () => {
    yes.disabled = true;
    try {
      await act();
      dialog.close();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      place.replaceChildren(problem(error));
      yes.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}
