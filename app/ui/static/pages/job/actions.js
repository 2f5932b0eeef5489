// @ts-check
// What can be done with a job.
import { idempotencyKey, send } from "../../lib/api.js";
import { el, toast } from "../../lib/dom.js";
import { count, shortId } from "../../lib/format.js";
import { go, href } from "../../lib/router.js";
import { TERMINAL } from "../../lib/wording.js";
import { confirm } from "../../parts/dialogs.js";

const PAUSABLE = new Set(["queued", "starting", "running"]);
const CANCELLABLE = new Set([...PAUSABLE, "pausing", "paused"]);
const TRAINING = new Set(["train", "distill", "multitask"]);

/**
 * The buttons for a job in its state.
 * @param {any} job
 * @param {(job: any) => void} onChange
 * @returns {HTMLElement[]}
 */
export function actions(job, onChange) {
  const name = job.name ?? shortId(job.id);
  const button = (/** @type {string} */ word, /** @type {() => void} */ act, cls = "") =>
    el("button", { type: "button", class: cls, onclick: act }, word);
  const change = (/** @type {string} */ action, /** @type {string} */ said) => async () => {
    onChange(await send("POST", `v1/jobs/${encodeURIComponent(job.id)}/${action}`));
    toast(said);
  };
  const kept = job.checkpoint ? ` Its checkpoint of step ${count(job.checkpoint.step)} is kept.` : "";
  const found = [];
  if (PAUSABLE.has(job.state)) {
    found.push(
      button("Pause", () =>
        confirm(
          {
            title: `Pause ${name}?`,
            action: "Pause",
            text:
              job.state === "queued"
                ? `It leaves the queue and waits until you resume it.${kept}`
                : "It writes a checkpoint where its training has begun, leaves its worker, and waits until you resume it.",
          },
          change("pause", "The job pauses"),
        ),
      ),
    );
  }
  if (job.state === "paused") {
    found.push(
      button("Resume", () =>
        confirm(
          {
            title: `Resume ${name}?`,
            action: "Resume",
            text: job.checkpoint
              ? "It goes back into the queue and continues from its checkpoint."
              : "It goes back into the queue.",
          },
          change("resume", "The job is queued again"),
        ),
      ),
    );
  }
  if (CANCELLABLE.has(job.state)) {
    found.push(
      button(
        "Cancel",
        () =>
          confirm(
            {
              title: `Cancel ${name}?`,
              action: "Cancel the job",
              isDangerous: true,
              text:
                job.state === "queued" || job.state === "paused"
                  ? `It ends at once.${kept || " A retry begins from the start."}`
                  : "It ends after the current step and, where its training has begun, a checkpoint, from which a retry can go on.",
            },
            change("cancel", "The job is cancelled"),
          ),
        "danger",
      ),
    );
  }
  if (job.state === "failed" || job.state === "cancelled") found.push(...retries(job, name, button));
  if (TRAINING.has(job.kind))
    found.push(el("a", { class: "button", href: href("new", { from: job.id }) }, "New job like it"));
  if (TERMINAL.has(job.state)) {
    found.push(
      button(
        "Delete",
        () =>
          confirm(
            {
              title: `Delete ${name}?`,
              action: "Delete",
              isDangerous: true,
              text: "Its events, metrics, report and files are deleted and cannot be brought back. A student that it made must be deleted first, on the student's page.",
            },
            async () => {
              await send("DELETE", `v1/jobs/${encodeURIComponent(job.id)}`);
              toast("The job was deleted");
              go(href("jobs"));
            },
          ),
        "danger",
      ),
    );
  }
  return found;
}

/**
 * @param {any} job
 * @param {string} name
 * @param {(word: string, act: () => void) => HTMLElement} button
 * @returns {HTMLElement[]}
 */
function retries(job, name, button) {
  const retry = (/** @type {boolean} */ fromCheckpoint) => {
    const key = idempotencyKey();
    return async () => {
      const made = await send("POST", `v1/jobs/${encodeURIComponent(job.id)}/retry`, {
        body: { from_checkpoint: fromCheckpoint },
        headers: { "Idempotency-Key": key },
      });
      toast("The retry is queued");
      go(href(`jobs/${encodeURIComponent(made.id)}`));
    };
  };
  const again = button("Retry", () =>
    confirm(
      { title: `Retry ${name}?`, action: "Retry", text: "A new job repeats it from the start, by the same spec." },
      retry(false),
    ),
  );
  if (!job.checkpoint) return [again];
  const text = `A new job goes on from the checkpoint of step ${count(job.checkpoint.step)}, by the same spec.`;
  return [
    button("Retry from the checkpoint", () =>
      confirm({ title: `Retry ${name} from its checkpoint?`, action: "Retry", text }, retry(true)),
    ),
    again,
  ];
}
