// @ts-check
// What surrounds every page: the account, the theme, and the line that says that the service does not answer.
import { el, fill, say } from "../lib/dom.js";
import { nextTry, tryNow } from "../lib/live.js";
import { session } from "../lib/session.js";
import { signOut } from "./signin.js";

const THEMES = [
  ["", "Theme: system"],
  ["light", "Theme: light"],
  ["dark", "Theme: dark"],
];

/** Fill the frame, and keep it right. */
export function install() {
  // Their addresses are relative to the page that was loaded, and later pages may be in another folder.
  for (const link of document.querySelectorAll("header a[href], link[rel=icon]")) {
    link.setAttribute("href", /** @type {HTMLAnchorElement | HTMLLinkElement} */ (link).href);
  }
  const who = el("span", { class: "who" });
  const leave = el(
    "button",
    { type: "button", class: "plain", hidden: true, onclick: () => signOut() },
    "Sign out",
  );
  fill(/** @type {Element} */ (document.getElementById("account")), theme(), who, leave);
  document.addEventListener("session", () => {
    const found = session();
    say(who, found?.key.name ?? "");
    who.title = found ? `Key ${found.key.prefix}…, service ${found.version}` : "";
    leave.hidden = !found;
  });
  document.addEventListener("connection", connection);
}

/** @returns {HTMLElement} */
function theme() {
  const choice = el(
    "select",
    { "aria-label": "Theme", class: "theme" },
    ...THEMES.map(([value, name]) => el("option", { value }, name)),
  );
  choice.value = document.documentElement.dataset.theme ?? "";
  choice.addEventListener("change", () => {
    if (choice.value) document.documentElement.dataset.theme = choice.value;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem("theme", choice.value);
    } catch {
      // Storage is blocked: the choice holds until the page is closed.
    }
    document.dispatchEvent(new CustomEvent("theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    document.dispatchEvent(new CustomEvent("theme")),
  );
  return choice;
}

let counting = 0;

/** Say that the service does not answer, and count the seconds until the next try, without announcing each to screen readers. */
function connection() {
  const place = /** @type {Element} */ (document.getElementById("connection"));
  clearInterval(counting);
  const state = nextTry();
  if (!state) {
    fill(place);
    return;
  }
  const left = el("span", { "aria-hidden": "true" });
  const words =
    place.querySelector("p")?.dataset.detail === state.detail
      ? place.querySelector(".words")
      : el("span", { class: "words" }, state.detail);
  const line = el(
    "p",
    { "data-detail": state.detail },
    words,
    " ",
    left,
    " ",
    el("button", { type: "button", class: "plain", onclick: tryNow }, "Try now"),
  );
  const tick = () => say(left, `Next try in ${Math.max(0, Math.round((state.at - Date.now()) / 1000))} s.`);
  tick();
  counting = window.setInterval(tick, 1000);
  fill(place, line);
}
