// @ts-check
// The words for states, verdicts and phases, in one place. Verdicts say what the headline of a report says.

/** @typedef {{ word: string, tone: string, meaning?: string }} Word */

/** @type {Record<string, Word>} */
export const STATES = {
  queued: { word: "queued", tone: "waiting", meaning: "It waits for a worker, or for its inputs." },
  starting: { word: "starting", tone: "active", meaning: "A worker fetches its inputs." },
  running: { word: "running", tone: "active", meaning: "A worker runs it." },
  pausing: { word: "pausing", tone: "held", meaning: "It writes a checkpoint and then waits." },
  paused: { word: "paused", tone: "held", meaning: "It goes on from its checkpoint once you resume it." },
  cancelling: { word: "cancelling", tone: "held", meaning: "It ends after the current step." },
  succeeded: { word: "succeeded", tone: "good" },
  failed: { word: "failed", tone: "bad" },
  cancelled: { word: "cancelled", tone: "waiting" },
  verifying: { word: "being checked", tone: "active", meaning: "The upload is inspected." },
  ready: { word: "ready", tone: "good" },
  rejected: { word: "rejected", tone: "bad" },
};

/** @type {Record<string, Word>} The star stands for what was to help: the teacher, or peers. */
const VERDICTS = {
  gain: { word: "gain", tone: "good", meaning: "* helped." },
  loss: { word: "loss", tone: "bad", meaning: "* did harm." },
  no_gain: { word: "no gain", tone: "plain", meaning: "* made no difference that matters." },
  inconclusive: { word: "inconclusive", tone: "plain", meaning: "Whether * helped stays open." },
  provisional_gain: {
    word: "provisional gain",
    tone: "good",
    meaning: "* helped in one pair of trainings, which may be chance.",
  },
  provisional_loss: {
    word: "provisional loss",
    tone: "bad",
    meaning: "* did harm in one pair of trainings, which may be chance.",
  },
  undecided: {
    word: "undecided",
    tone: "plain",
    meaning: "Whether * helped stays open after one pair of trainings.",
  },
  not_applicable: { word: "not judged", tone: "plain", meaning: "Nothing could be compared; the report says why." },
};

/** @type {Record<string, string>} */
export const PHASES = {
  loading: "Loading data",
  inspecting: "Inspecting",
  teaching: "Asking the teachers",
  training: "Training",
  evaluating: "Measuring",
  exporting: "Exporting",
  publishing: "Storing results",
};

/** @type {Record<string, string>} */
export const KINDS = {
  train: "train",
  distill: "distil",
  multitask: "multi-task",
  preflight: "preflight",
  inspect: "inspection",
  export: "export",
};

/** @type {Record<string, string>} */
export const METRICS = {
  accuracy: "accuracy",
  macro_f1: "macro F1",
  entity_f1: "entity F1",
  mean_iou: "mean IoU",
  auroc: "AUROC",
  nll: "negative log-likelihood (nll)",
  ece: "calibration error (ece)",
  brier: "Brier score",
  rmse: "root mean squared error",
  mae: "mean absolute error",
  r2: "R²",
  cosine: "cosine",
};

/** Metrics in the order in which a report names them: the first that a task has is its main one. */
export const MAIN_METRICS = [
  "mean_iou",
  "accuracy",
  "nll",
  "ece",
  "brier",
  "macro_f1",
  "auroc",
  "rmse",
  "mae",
  "r2",
  "cosine",
];
export const LOWER_IS_BETTER = new Set(["nll", "ece", "brier", "rmse", "mae"]);

/** @type {Record<string, string>} Why the sign-in appears, by the code of a 401. */
const REASONS = {
  session_expired: "Your session has expired. Sign in again to go on where you were.",
  revoked_key: "The key of your session was revoked. Sign in with another key to go on.",
  unknown_key:
    "The key of your session is no longer known: it was revoked or deleted. Sign in with another key to go on.",
};

/** @param {string} code @param {boolean} wasSignedIn @returns {string} */
export function signInReason(code, wasSignedIn) {
  if (code === "session_needed" || code === "key_needed") {
    return wasSignedIn ? "Your session has ended. Sign in again to go on where you were." : "";
  }
  return REASONS[code] ?? "The service asks for a key again. Sign in to go on where you were.";
}

/** @type {Record<string, string>} What an error of the page's own means. */
export const OWN_ERRORS = {
  service_away: "The service does not answer. Either it is being restarted, or the connection is interrupted.",
  page_missing: "A part of this page cannot be loaded.",
  not_json: "The service, or a proxy before it, answered something that is no JSON.",
};

export const TERMINAL = new Set(["succeeded", "failed", "cancelled"]);

/** @param {string} state @returns {Word} */
export function stateOf(state) {
  return STATES[state] ?? { word: state, tone: "waiting" };
}

/** @param {string} verdict @param {string} [helper] What was to help. @returns {Word} */
export function verdictOf(verdict, helper = "the teacher") {
  const found = VERDICTS[verdict] ?? { word: verdict, tone: "plain" };
  const meaning = found.meaning?.replace("*", helper);
  return { ...found, meaning: meaning && meaning.slice(0, 1).toUpperCase() + meaning.slice(1) };
}
