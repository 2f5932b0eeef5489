// @ts-check
// A new job: a form and its spec as JSON, each following the other.
import { ApiError, get, idempotencyKey, send } from "../lib/api.js";
import { announce, el, fill, newId } from "../lib/dom.js";
import { poll } from "../lib/live.js";
import { pretty } from "../lib/json.js";
import { keep } from "../lib/names.js";
import { go, href } from "../lib/router.js";
import { pageHead, problem, showError } from "../parts/bits.js";
import { Form } from "./new/form.js";
import { dryRunOf, problemList } from "./new/outcome.js";
import { firstSpec, likeOf } from "./new/specs.js";

export const title = "New job";
const SETTLING = 700;
const MOST = 200;

/** @param {import("../lib/router.js").Place} place */
export function show({ main, query, signal }) {
  fill(main, pageHead("New job"), el("p", { class: "loading" }, "Loading …"));
  poll(
    async (within) => {
      const [datasets, models] = await Promise.all([
        get("v1/datasets", { state: "ready", limit: MOST }, within),
        get("v1/models", { state: "ready", limit: MOST }, within),
      ]);
      for (const each of [...datasets.data, ...models.data]) keep(each.id, each.name, each.state);
      const from = query.get("from");
      const spec = from
        ? likeOf((await get(`v1/jobs/${encodeURIComponent(from)}`, {}, within)).spec)
        : firstSpec(query, datasets.data, models.data);
      new NewJob(
        main,
        spec,
        { datasets: datasets.data, models: models.data, hasMore: datasets.has_more || models.has_more },
        signal,
      );
      return false;
    },
    { signal, onError: (error) => showError(main, error, "A new job cannot be made") },
  );
}

class NewJob {
  /**
   * @param {HTMLElement} main
   * @param {any} spec
   * @param {{ datasets: any[], models: any[], hasMore: boolean }} choices
   * @param {AbortSignal} signal
   */
  constructor(main, spec, choices, signal) {
    this.spec = spec;
    this.signal = signal;
    this.timer = 0;
    this.key = { text: "", value: "" };
    this.asking = new AbortController();
    this.isChecked = false;
    this.written = pretty(spec);
    const [jsonId, wrongId] = [newId("json"), newId("wrong")];
    this.json = el("textarea", {
      id: jsonId,
      class: "code",
      spellcheck: "false",
      autocomplete: "off",
      "aria-describedby": wrongId,
      value: this.written.text,
    });
    this.wrong = el("p", { id: wrongId, class: "wrong", role: "alert" });
    this.outcome = el("div", { "aria-live": "polite" });
    this.form = new Form(choices, () => this._formChanged());
    this.form.show(spec);
    this.check = el("button", { type: "submit" }, "Check");
    this.submit = el(
      "button",
      { type: "button", class: "primary", onclick: () => this._submit() },
      "Submit the job",
    );
    this.json.addEventListener("input", () => this._jsonChanged());
    const form = el(
      "form",
      { novalidate: true },
      el(
        "div",
        { class: "new-job" },
        el("div", null, this.form.node),
        el(
          "div",
          null,
          el(
            "div",
            { class: "field" },
            el("label", { for: jsonId }, "The spec as JSON"),
            this.json,
            this.wrong,
            el(
              "small",
              { class: "soft" },
              "Form and JSON follow each other. What the form does not have is written here and stays.",
            ),
          ),
          el("div", { class: "copying" }, this.check, this.submit),
          this.outcome,
        ),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this._check();
    });
    fill(
      main,
      pageHead(
        "New job",
        "Choose data, a teacher and the size of the student. What is left out is chosen by a recipe; the check says what, and why.",
      ),
      form,
    );
    signal.addEventListener("abort", () => this.asking.abort());
  }

  _formChanged() {
    this.written = pretty(this.spec);
    this.json.value = this.written.text;
    this._hasJson(null);
    this._changed();
  }

  _jsonChanged() {
    try {
      const found = JSON.parse(this.json.value);
      if (found === null || typeof found !== "object" || Array.isArray(found))
        throw new SyntaxError("expected an object in braces");
      this.spec = found;
      this._hasJson(null);
      this.form.show(found);
      this._changed();
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this._hasJson(`This is no JSON yet: ${error.message}. The form shows the last one that was.`);
    }
  }

  /** @param {string | null} wrong */
  _hasJson(wrong) {
    this.wrong.textContent = wrong ?? "";
    if (wrong) this.json.setAttribute("aria-invalid", "true");
    else this.json.removeAttribute("aria-invalid");
    this.submit.disabled = this.check.disabled = wrong !== null;
  }

  /** Check again, soon after the last change, if a check was asked for before. */
  _changed() {
    clearTimeout(this.timer);
    if (this.isChecked) this.timer = window.setTimeout(() => this._check(), SETTLING);
  }

  async _check() {
    this.isChecked = true;
    await this._ask(async (signal) => {
      const found = await send("POST", "v1/jobs", { query: { dry_run: true }, body: this.spec, signal });
      this.form.showProblems([]);
      fill(this.outcome, dryRunOf(found, this.spec));
    });
  }

  async _submit() {
    clearTimeout(this.timer);
    const text = JSON.stringify(this.spec);
    if (this.key.text !== text) this.key = { text, value: idempotencyKey() };
    this.submit.disabled = true;
    await this._ask(async (signal) => {
      const job = await send("POST", "v1/jobs", {
        body: this.spec,
        signal,
        headers: { "Idempotency-Key": this.key.value },
      });
      announce("The job is queued");
      go(href(`jobs/${encodeURIComponent(job.id)}`));
    });
    this.submit.disabled = false;
  }

  /** @param {(signal: AbortSignal) => Promise<void>} task */
  async _ask(task) {
    this.asking.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    try {
      await task(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.form.showProblems(error.errors);
      fill(
        this.outcome,
        error.errors.length ? problemList(error, (pointer) => this._goTo(pointer)) : problem(error),
      );
    }
  }

  /** @param {string} pointer Go to the field of a problem, or to its place in the JSON. */
  _goTo(pointer) {
    if (this.form.focus(pointer)) return;
    let found = pointer;
    while (found && !this.written.ranges.has(found)) found = found.slice(0, found.lastIndexOf("/"));
    this.json.focus();
    const range = this.written.ranges.get(found);
    if (range && this.json.value === this.written.text) this.json.setSelectionRange(...range);
  }
}
