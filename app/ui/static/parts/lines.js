// @ts-check
// How the lines of a chart look, and their points on common steps.

/** @typedef {import("../lib/series.js").Line} Line */

const COLOURS = 6;

/** @typedef {{ colour: string, isDashed: boolean, isFaint: boolean }} Look */

/**
 * How lines look, by name: of one measure a colour for each role, as in the reports, else one for each measure.
 * Controls are dashed, further seeds faint.
 * @param {Line[]} lines
 * @returns {Map<string, Look>}
 */
export function looks(lines) {
  const owns = [...new Set(lines.map((line) => line.own))];
  const role = (/** @type {string} */ party) => (isControl(party) ? "control" : isSeed(party) ? "student" : party);
  const roles = [...new Set(["student", "control", ...lines.map((line) => role(line.party))])];
  return new Map(
    lines.map((line) => {
      const place = owns.length > 1 ? owns.indexOf(line.own) : roles.indexOf(role(line.party));
      const look = {
        colour: `--c${place % COLOURS}`,
        isDashed: isControl(line.party),
        isFaint: isSeed(line.party),
      };
      return [line.name, look];
    }),
  );
}

/** @param {string} party */
function isControl(party) {
  return party.endsWith("control");
}

/** @param {string} party */
function isSeed(party) {
  return party.startsWith("repeat");
}

/**
 * The points of lines on common steps; of a logarithm the positive ones.
 * @param {Line[]} lines
 * @param {boolean} isLog
 * @returns {(number | null | undefined)[][]}
 */
export function joined(lines, isLog) {
  const steps = [...new Set(lines.flatMap((line) => line.points.map((point) => point.step)))].sort((a, b) => a - b);
  return [
    steps,
    ...lines.map((line) => {
      const values = new Map(
        line.points.map((point) => [point.step, isLog && (point.value ?? 0) <= 0 ? null : point.value]),
      );
      return steps.map((step) => values.get(step));
    }),
  ];
}
