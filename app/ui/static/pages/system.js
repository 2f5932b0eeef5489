// @ts-check
// The queue, the workers and the service.
import { get } from "../lib/api.js";
import { el, fill } from "../lib/dom.js";
import { bytes, count, counted, duration, figure, secondsBetween, timeOf } from "../lib/format.js";
import { poll } from "../lib/live.js";
import { facts, meter, note, pageHead, plainTable, problem, section } from "../parts/bits.js";

export const title = "System";
const LANES = /** @type {Record<string, string>} */ ({
  train: "training",
  inspect: "inspections",
  predict: "predictions",
});

const STORES = /** @type {Record<string, string>} */ ({
  file: "on the disk",
  s3: "in S3",
  gs: "in Google Cloud Storage",
  az: "in Azure Blob Storage",
});

/** @param {import("../lib/router.js").Place} place */
export function show({ main, signal }) {
  const [trouble, queue, workers, service] = [el("div"), el("div"), el("div"), el("div")];
  main.append(
    pageHead("System"),
    trouble,
    section("Queue", queue),
    section("Workers", workers),
    section("Service", service),
  );
  const shown = { queue: "", workers: "" };
  const onError = (/** @type {import("../lib/api.js").ApiError} */ error) => fill(trouble, problem(error));
  poll(
    async (within) => {
      const found = await get("v1/queue", {}, within);
      const key = JSON.stringify(found.lanes);
      if (key !== shown.queue) fill(queue, queueOf(found));
      shown.queue = key;
      const all = JSON.stringify(found.workers);
      if (all !== shown.workers) fill(workers, workersOf(found.workers));
      shown.workers = all;
    },
    { signal, onError },
  );
  poll(
    async (within) => {
      fill(service, serviceOf(await get("v1/system", {}, within)));
      return false;
    },
    { signal, onError },
  );
}

/** @param {any} found @returns {HTMLElement} */
function queueOf({ lanes }) {
  const rows = Object.entries(lanes).map(([name, lane]) => {
    const { queued, running, paused, oldest_queued_at: oldest } = /** @type {any} */ (lane);
    return [
      LANES[name] ?? name,
      count(queued),
      count(running),
      count(paused),
      oldest ? [timeOf(oldest), ` (${duration(secondsBetween(oldest))} ago)`] : "",
    ];
  });
  return plainTable("Jobs by lane", ["Lane", "Waiting", "Running", "Paused", "Oldest waiting since"], rows, {
    numbers: [1, 2, 3],
    isHidden: true,
  });
}

/** @param {any[]} workers @returns {HTMLElement} */
function workersOf(workers) {
  if (!workers.length)
    return note(
      "warn",
      el(
        "p",
        null,
        "No worker has been seen. Jobs wait until one is started: ",
        el("code", null, "stillhouse worker"),
        ".",
      ),
    );
  return el(
    "div",
    { class: "workers" },
    ...workers.map((worker) => {
      const disk = worker.disk;
      return el(
        "article",
        { class: "card", "aria-label": `Worker ${worker.host}` },
        el(
          "h3",
          null,
          worker.host,
          el(
            "span",
            { class: "state", "data-tone": worker.alive ? "good" : "bad" },
            worker.alive ? "alive" : "not seen lately",
          ),
        ),
        facts([
          ["Lanes", worker.lanes.map((/** @type {string} */ lane) => LANES[lane] ?? lane).join(", ")],
          [
            "Slots",
            Object.entries(worker.busy).map(([lane, slot]) => {
              const { busy, total } = /** @type {any} */ (slot);
              return meter(busy, total, `${LANES[lane] ?? lane}: ${count(busy)} of ${count(total)} busy`);
            }),
          ],
          [
            "Devices",
            worker.devices.map((/** @type {any} */ device) =>
              el(
                "div",
                null,
                `${device.name}: ${device.description}`,
                device.memory_bytes ? `, ${bytes(device.memory_bytes)}` : "",
              ),
            ),
          ],
          [
            "Disk",
            disk
              ? meter(
                  disk.total_bytes - disk.free_bytes,
                  disk.total_bytes,
                  `${bytes(disk.free_bytes)} free of ${bytes(disk.total_bytes)}`,
                )
              : null,
          ],
          ["Version", `${worker.version}, Python ${worker.python}`],
          ["Started", timeOf(worker.started_at)],
          ["Last seen", timeOf(worker.seen_at)],
          ["Id", el("code", null, worker.id)],
        ]),
        el(
          "details",
          null,
          el("summary", null, counted(Object.keys(worker.packages).length, "package")),
          versions(worker.packages),
        ),
      );
    }),
  );
}

/** @param {Record<string, string>} packages @returns {HTMLElement} */
function versions(packages) {
  return el(
    "ul",
    { class: "versions" },
    ...Object.entries(packages).map(([name, version]) => el("li", { class: "tag" }, `${name} ${version}`)),
  );
}

/** @param {any} system @returns {HTMLElement} */
function serviceOf(system) {
  const { disk, limits } = system;
  const settings = Object.entries(limits).map(([name, value]) => [
    el("code", null, name),
    figure(/** @type {number} */ (value)),
  ]);
  return el(
    "div",
    null,
    facts([
      ["Version", system.version],
      ["Python", system.python],
      ["Started", [timeOf(system.started_at), ` (${duration(secondsBetween(system.started_at))} ago)`]],
      ["Database", `${system.database.kind} ${system.database.version}`],
      ["Files are", STORES[system.store] ?? `in ${system.store}`],
      [
        "Disk",
        disk
          ? meter(
              disk.total_bytes - disk.free_bytes,
              disk.total_bytes,
              `${bytes(disk.free_bytes)} free of ${bytes(disk.total_bytes)}`,
            )
          : null,
      ],
    ]),
    el("details", null, el("summary", null, "Packages"), versions(system.packages)),
    el(
      "details",
      null,
      el("summary", null, "Limits"),
      plainTable("Limits", ["Setting", "Value"], settings, { numbers: [1], isHidden: true }),
    ),
  );
}
