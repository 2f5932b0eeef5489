// @ts-check
// The sections of a job's report, as the service writes them for people, inside the dashboard.
import { text } from "../lib/api.js";
import { el } from "../lib/dom.js";

/** The one place where markup becomes elements: the service's own report, in which it has escaped what users named. */
const POLICY = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("report", {
  createHTML: (/** @type {string} */ markup) => markup,
});
const STYLED = "data-styled";
const STYLE = /<style>([^<]*)<\/style>/;

/**
 * Fetch a report. Its colours are the variables of the dashboard, whose names are the same, so that it follows the theme.
 * @param {string} job
 * @param {AbortSignal} signal
 * @param {{ without?: string[] }} [options] Titles of sections that the page shows by itself.
 * @returns {Promise<{ headline: string, node: HTMLElement }>}
 */
export async function reportOf(job, signal, { without = [] } = {}) {
  const page = await text(`v1/jobs/${encodeURIComponent(job)}/report`, { format: "html" }, signal);
  // The policy of the dashboard refuses styles in markup, even of a document that is not shown: CSSOM may set them.
  const style = STYLE.exec(page)?.[1] ?? "";
  const markup = page.replace(STYLE, "").replaceAll(' style="', ` ${STYLED}="`);
  const found = new DOMParser().parseFromString(POLICY ? POLICY.createHTML(markup) : markup, "text/html");
  const headline = found.querySelector(".headline")?.textContent ?? "";
  const sections = [...found.querySelectorAll("main > section")].filter(
    (each) => !without.includes(each.querySelector("h2")?.textContent ?? ""),
  );
  const host = el("div", { class: "report-host" });
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheetOf(style)];
  root.append(...sections.map((each) => document.adoptNode(each)));
  for (const each of root.querySelectorAll(`[${STYLED}]`)) restyle(/** @type {HTMLElement} */ (each));
  for (const scroll of root.querySelectorAll(".scroll")) {
    scroll.setAttribute("tabindex", "0");
    scroll.setAttribute("role", "region");
    scroll.setAttribute(
      "aria-label",
      `Table of ${scroll.closest("section")?.querySelector("h2")?.textContent ?? "the report"}`,
    );
  }
  return { headline, node: host };
}

/** @param {HTMLElement} node */
function restyle(node) {
  for (const declaration of (node.getAttribute(STYLED) ?? "").split(";")) {
    const [name, ...value] = declaration.split(":");
    if (value.length) node.style.setProperty(name.trim(), value.join(":").trim());
  }
  node.removeAttribute(STYLED);
}

/** @param {string} style @returns {CSSStyleSheet} The report's style without its colours and its page. */
function sheetOf(style) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  for (let i = sheet.cssRules.length - 1; i >= 0; i -= 1) {
    const rule = sheet.cssRules[i];
    const isOfPage =
      rule instanceof CSSMediaRule ||
      (rule instanceof CSSStyleRule && [":root", "body", "h1"].includes(rule.selectorText));
    if (isOfPage) sheet.deleteRule(i);
  }
  sheet.insertRule("section + section { margin-top: 1.6rem }");
  sheet.insertRule("h2 { font-weight: 650; border-bottom: 1px solid var(--line) }", sheet.cssRules.length);
  sheet.insertRule(".charts { margin-bottom: .6rem }", sheet.cssRules.length);
  sheet.insertRule("p { max-width: 90ch }", sheet.cssRules.length);
  sheet.insertRule(":focus-visible { outline: 2px solid var(--accent) }", sheet.cssRules.length);
  return sheet;
}
