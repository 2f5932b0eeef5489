// @ts-check
// Targets, inputs and encodings of a dataset.
import { el } from "../../lib/dom.js";
import { count, counted, figure } from "../../lib/format.js";
import { bars, plainTable, section } from "../../parts/bits.js";

const MOST_BARS = 30;

/** @param {any} spec @param {Record<string, any>} statistics By split. @returns {HTMLElement} */
export function targetOf(spec, statistics) {
  const splits = Object.entries(statistics);
  const numbers = splits.some(([, each]) => each.mean !== null && each.mean !== undefined);
  const rows = splits.map(([name, each]) => [
    name,
    count(each.rows),
    count(each.labelled),
    count(each.missing),
    ...(numbers ? [figure(each.minimum), figure(each.mean), figure(each.maximum)] : []),
  ]);
  const train = statistics.train ?? splits[0]?.[1];
  const counts = train?.counts ?? train?.positives;
  const classes = Array.isArray(spec.classes) ? spec.classes : [];
  return el(
    "div",
    null,
    el(
      "p",
      { class: "soft" },
      `Kind ${spec.kind}${classes.length ? `, ${counted(classes.length, "class")}` : typeof spec.classes === "number" ? `, ${spec.classes} classes` : ""}.`,
    ),
    splits.length
      ? plainTable(
          "Labels by split",
          ["Split", "Rows", "With a label", "Without", ...(numbers ? ["Smallest", "Mean", "Largest"] : [])],
          rows,
          { numbers: [1, 2, 3, 4, 5, 6], isHidden: true },
        )
      : null,
    counts
      ? el(
          "div",
          null,
          el("h3", null, `Labels of the ${statistics.train ? "training" : splits[0][0]} rows`),
          countBars(counts, classes),
        )
      : null,
  );
}

/** @param {number[]} counts @param {string[]} names @returns {HTMLElement} */
function countBars(counts, names) {
  const entries = counts.map((value, i) => /** @type {[string, number]} */ ([String(names[i] ?? i), value]));
  if (entries.length <= MOST_BARS) return bars(entries);
  entries.sort((a, b) => b[1] - a[1]);
  const most = entries[0][1];
  return el(
    "div",
    null,
    bars(entries.slice(0, 10), { most }),
    el("p", { class: "soft" }, `${entries.length - 20} more, then the rarest:`),
    bars(entries.slice(-10), { most }),
  );
}

/** @param {any} dataset @returns {HTMLElement} */
export function inputsOf(dataset) {
  const rows = Object.entries(dataset.inputs).map(([name, spec]) => {
    const { kind, columns, column, shape, size, scale, missing } = /** @type {any} */ (spec);
    const settings = [
      shape ? `shape ${shape.join(" × ")}` : "",
      size ? `${size.join(" × ")} pixels` : "",
      scale && scale !== 1 ? `times ${figure(scale)}` : "",
      missing ? `missing: ${missing}` : "",
    ];
    return [
      name,
      kind,
      el(
        "span",
        { class: "cut", title: (columns ?? [column ?? name]).join(", ") },
        (columns ?? [column ?? name]).join(", "),
      ),
      settings.filter(Boolean).join(", "),
      dataset.standardization[name]?.because ?? (dataset.standardization[name] ? "standardised" : ""),
    ];
  });
  return plainTable("Inputs", ["Name", "Kind", "Columns", "Settings", "Standardisation"], rows, { isHidden: true });
}

/** @param {string} name @param {any} encoding @param {any} counts @returns {HTMLElement} */
export function encodingOf(name, encoding, counts) {
  const replaced = (/** @type {string} */ column) =>
    Object.entries(counts[column] ?? {})
      .flatMap(([split, each]) => {
        const { missing, unseen } = /** @type {any} */ (each);
        return [
          missing ? `${count(missing)} missing in ${split}` : "",
          unseen ? `${count(unseen)} unseen in ${split}` : "",
        ].filter(Boolean);
      })
      .join(", ");
  const rows = encoding.columns.slice(0, 100).map((/** @type {string} */ column, /** @type {number} */ i) => {
    const categories = encoding.categories?.[i];
    return [
      column,
      categories
        ? el(
            "span",
            { class: "cut", title: categories.join(", ") },
            `${categories.length}: ${categories.slice(0, 12).join(", ")}`,
          )
        : encoding.fill
          ? figure(encoding.fill[i])
          : "",
      replaced(column),
    ];
  });
  const head = encoding.categories
    ? `Categories (${(encoding.encoding ?? "").replace("_", "-")})`
    : `Filled with (${encoding.missing})`;
  return section(
    `Encoding of ${name}`,
    plainTable(`Encoding of ${name}`, ["Column", head, "Replaced"], rows, { isHidden: true }),
  );
}
