// @ts-check
// A field by which jobs are added to a comparison.
import { get } from "../../lib/api.js";
import { el, fill, newId } from "../../lib/dom.js";
import { shortId } from "../../lib/format.js";
import { KINDS } from "../../lib/wording.js";

/** @param {AbortSignal} signal @param {(id: string) => void} onAdd @returns {HTMLElement} A field that finds jobs by name or id. */
export function adder(signal, onAdd) {
  const [id, list] = [newId("add"), newId("jobs")];
  const options = el("datalist", { id: list });
  const input = el("input", { id, type: "search", list, autocomplete: "off", spellcheck: "false" });
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    if (/^job_[0-9a-f-]{36}$/.test(input.value.trim())) {
      onAdd(input.value.trim());
      input.value = "";
      return;
    }
    timer = window.setTimeout(async () => {
      const { data } = await get("v1/jobs", { text: input.value.trim(), limit: 20 }, signal).catch(() => ({
        data: [],
      }));
      fill(
        options,
        ...data.map((/** @type {any} */ job) =>
          el(
            "option",
            { value: job.id },
            `${job.name ?? shortId(job.id)}, ${KINDS[job.kind] ?? job.kind}, ${job.state}`,
          ),
        ),
      );
    }, 250);
  });
  return el(
    "form",
    { class: "filters", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    el("label", { for: id }, "Add a job by name or id", input),
    options,
  );
}
