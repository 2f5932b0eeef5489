// @ts-check
// The list of jobs.
import { el, say } from "../lib/dom.js";
import { counted, shortId, timeOf } from "../lib/format.js";
import { keep, learn, linkTo } from "../lib/names.js";
import { go, href } from "../lib/router.js";
import { datasetsOf, helperOf, idsOf, studentText, teachersOf } from "../lib/specs.js";
import { KINDS, STATES } from "../lib/wording.js";
import { pageHead, progressOf, stateBadge, verdictBadges } from "../parts/bits.js";
import { showListing, stateTeller } from "../parts/listing.js";

export const title = "Jobs";
const JOB_STATES = [
  "queued",
  "starting",
  "running",
  "pausing",
  "paused",
  "cancelling",
  "succeeded",
  "failed",
  "cancelled",
];
const MOST_COMPARED = 20;

/** @param {import("../lib/router.js").Place} place */
export function show({ main, query, signal }) {
  /** @type {Set<string>} */
  const selected = new Set();
  const compare = el("button", {
    type: "button",
    onclick: () => go(href("compare", { jobs: [...selected].join(",") })),
  });
  const onSelect = () => {
    say(compare, selected.size ? `Compare ${counted(selected.size, "job")}` : "Compare jobs");
    compare.disabled = selected.size > MOST_COMPARED;
    compare.title = compare.disabled ? `Select at most ${MOST_COMPARED} jobs` : "";
  };
  onSelect();
  const tell = stateTeller("Job");
  main.append(
    pageHead("Jobs", null, [compare, el("a", { class: "button primary", href: href("new") }, "New job")]),
  );
  showListing(
    main,
    {
      path: "v1/jobs",
      caption: "Jobs, newest first",
      noun: "job",
      columns: columns(selected, onSelect),
      filters: [
        { name: "text", label: "Name or id" },
        { name: "state", label: "State", options: JOB_STATES.map((each) => [each, STATES[each].word]) },
        { name: "kind", label: "Kind", options: Object.entries(KINDS) },
        { name: "label", label: "Label (key or key=value)" },
      ],
      prepare: async (rows) => {
        for (const row of rows) keep(row.id, row.name, row.state);
        await learn(rows.flatMap((row) => idsOf(row.spec)));
        tell(rows);
      },
      empty: ["There are no jobs yet. ", el("a", { href: href("new") }, "Make the first one"), "."],
    },
    query,
    signal,
  );
}

/**
 * @param {Set<string>} selected
 * @param {() => void} onSelect
 * @returns {import("../parts/listing.js").Column[]}
 */
function columns(selected, onSelect) {
  return [
    {
      head: "State",
      class: "narrow",
      key: (job) => [job.state, job.progress],
      cell: (job) => [stateBadge(job.state), el("div", { class: "only-narrow" }, progressOf(job))],
    },
    {
      head: "Name",
      isName: true,
      key: (job) => [job.name, job.labels, job.kind],
      cell: (job) => [
        el(
          "a",
          { href: href(`jobs/${encodeURIComponent(job.id)}`), class: "cut", title: job.id },
          job.name ?? shortId(job.id),
        ),
        el(
          "small",
          { class: "soft only-narrow" },
          [KINDS[job.kind] ?? job.kind, studentText(job.spec)].filter(Boolean).join(" · "),
        ),
        ...Object.entries(job.labels)
          .slice(0, 3)
          .flatMap(([name, value]) => [el("span", { class: "tag" }, value ? `${name}=${value}` : name), " "]),
      ],
    },
    { head: "Kind", class: "wide narrow", key: (job) => job.kind, cell: (job) => KINDS[job.kind] ?? job.kind },
    {
      head: "Dataset",
      class: "wide",
      key: (job) => datasetsOf(job.spec),
      cell: (job) => datasetsOf(job.spec).map((id) => el("div", { class: "cut" }, linkTo(id))),
    },
    {
      head: "Teacher",
      class: "wide",
      key: (job) => teachersOf(job.spec),
      cell: (job) => {
        const all = teachersOf(job.spec);
        const more = all.length > 2 ? el("small", { class: "soft" }, `and ${all.length - 2} more`) : null;
        return [
          ...all.slice(0, 2).map((each) => el("div", { class: "cut" }, each.id ? linkTo(each.id) : each.text)),
          more,
        ];
      },
    },
    {
      head: "Student",
      class: "wide",
      key: (job) => studentText(job.spec),
      cell: (job) => el("span", { class: "cut" }, studentText(job.spec)),
    },
    {
      head: "Progress",
      class: "wide",
      key: (job) => [job.state, job.progress, job.error?.code, job.finished_at],
      cell: (job) => [
        progressOf(job),
        job.error && job.state === "failed"
          ? el("div", null, el("small", { class: "problem", title: job.error.message }, job.error.code))
          : null,
      ],
    },
    {
      head: "Verdict",
      key: (job) => job.verdict ?? null,
      cell: (job) => verdictBadges(job.verdict, helperOf(job.spec)),
    },
    {
      head: "Created",
      class: "wide narrow",
      key: (job) => job.created_at,
      cell: (job) => timeOf(job.created_at),
    },
    {
      head: "Compare",
      class: "wide narrow",
      key: () => 0,
      cell: (job) => {
        const box = el("input", {
          type: "checkbox",
          checked: selected.has(job.id),
          "aria-label": `Compare ${job.name ?? shortId(job.id)}`,
        });
        box.addEventListener("change", () => {
          if (box.checked) selected.add(job.id);
          else selected.delete(job.id);
          onSelect();
        });
        return box;
      },
    },
  ];
}
