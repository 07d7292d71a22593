// The tab Fleet: how the whole server fares, as small charts.

import { clear, h, svg } from "/console/basics/dom.js";
import { grow, quantile, sumBy, total, unwatch, watch } from "/console/basics/metrics.js";
import { bytes, count, milliseconds, percent, si } from "/console/basics/units.js";

const WIDTH = 240,
  HEIGHT = 56;
const CLIENTS = new Set([
  "ok",
  "InvalidInput",
  "BodyTooLarge",
  "UnsupportedEncoding",
  "Unauthorized",
  "UnknownRoute",
  "ClientGone",
  "RequestTimeout",
]);
const rate = (value) => (value === 0 ? "0" : value < 10 ? value.toFixed(1) : count(value));

// Each chart: its title, the number of an interval (null: none), and how it is written.
const CHARTS = [
  [
    "Answers per second",
    ({ grown, seconds }) => total(grown, "sparing_rows_total") / seconds,
    rate,
  ],
  [
    "Median latency",
    ({ grown }) => scale(quantile(grown, "sparing_latency_seconds", 0.5), 1e3),
    milliseconds,
  ],
  [
    "99th percentile of the latency",
    ({ grown }) => scale(quantile(grown, "sparing_latency_seconds", 0.99), 1e3),
    milliseconds,
  ],
  [
    "Device busy",
    ({ grown, values, seconds }) => {
      const devices = sumBy(values, "sparing_device_busy_seconds_total", "device").size || 1;
      const processes = total(values, "sparing_workers") || 1;
      return total(grown, "sparing_device_busy_seconds_total") / seconds / devices / processes;
    },
    percent,
  ],
  ["Rows waiting", ({ values }) => total(values, "sparing_waiting_rows"), count],
  [
    "Rows in a batch, on average",
    ({ grown }) =>
      divide(total(grown, "sparing_batch_rows_sum"), total(grown, "sparing_batch_rows_count")),
    (value) => value.toFixed(1),
  ],
  [
    "Answered from the cache",
    ({ grown }) =>
      divide(
        total(grown, "sparing_rows_total", (labels) => labels.stopped_by === "cache"),
        total(grown, "sparing_rows_total"),
      ),
    percent,
  ],
  ["Compute saved", ({ grown }) => saved(grown), percent],
  [
    "Power for answers",
    ({ grown, seconds }) =>
      total(grown, "sparing_energy_account_joules_total")
        ? total(
            grown,
            "sparing_energy_account_joules_total",
            (labels) => labels.account === "rows",
          ) / seconds
        : null,
    (value) => si(value, "W"),
  ],
  [
    "Failed requests per second",
    ({ grown, seconds }) =>
      total(grown, "sparing_requests_total", (labels) => !CLIENTS.has(labels.result)) / seconds,
    rate,
  ],
];

const scale = (value, factor) => (value === null ? null : value * factor);
const divide = (part, whole) => (whole ? part / whole : null);
const saved = (grown) => {
  const full = total(grown, "sparing_full_macs_total");
  return full ? 1 - total(grown, "sparing_macs_total") / full : null;
};

export function makeFleet(panel) {
  const status = h("p", { class: "hint", role: "status" });
  const facts = h("dl", { class: "facts-line" });
  const charts = CHARTS.map(([title, read, write]) => ({
    read,
    write,
    title,
    element: h("article", { class: "card chart" }),
    points: [],
  }));
  clear(
    panel,
    status,
    facts,
    h(
      "div",
      { class: "charts" },
      charts.map((chart) => chart.element),
    ),
  );
  let lastAt = null;

  function tell(samples, fault) {
    status.textContent =
      fault ??
      (samples.length < 2 ? "Reading …" : "The last two minutes, a reading every two seconds.");
    if (fault || !samples.length) return;
    const now = samples.at(-1);
    clear(facts, tellFacts(now.values));
    if (now.atMs === lastAt) return;
    const fresh = samples
      .slice(1)
      .map((one, place) => [samples[place], one])
      .filter(([, one]) => lastAt === null || one.atMs > lastAt);
    lastAt = now.atMs;
    for (const [before, after] of fresh) {
      const interval = {
        values: after.values,
        grown: grow(after.values, before.values),
        seconds: (after.atMs - before.atMs) / 1000,
      };
      for (const chart of charts) {
        chart.points.push(chart.read(interval));
        if (chart.points.length > 60) chart.points.shift();
      }
    }
    for (const chart of charts) draw(chart);
  }

  return { show: () => watch(tell), hide: () => unwatch(tell) };
}

function draw({ element, title, points, write }) {
  const known = points.filter((value) => value !== null);
  const now = points.at(-1);
  const text = now === null || now === undefined ? "–" : write(now);
  if (!known.length) {
    clear(element, h("h3", {}, title), h("p", { class: "big" }, text));
    return;
  }
  const most = Math.max(...known),
    least = Math.min(0, ...known);
  const told = `${title}: now ${text}, at most ${write(most)} in the last two minutes`;
  clear(
    element,
    h("h3", {}, title),
    h("p", { class: "big" }, text),
    drawLine(points, least, most, told),
    h("p", { class: "hint" }, `at most ${write(most)}`),
  );
}

function drawLine(points, least, most, told) {
  const span = most - least || 1,
    step = WIDTH / 59,
    begin = WIDTH - step * (points.length - 1);
  let path = "",
    pen = "M";
  for (const [place, value] of points.entries()) {
    if (value === null) {
      pen = "M";
      continue;
    }
    path += `${pen}${(begin + place * step).toFixed(1)} ${(HEIGHT - 3 - ((value - least) / span) * (HEIGHT - 6)).toFixed(1)}`;
    pen = "L";
  }
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": told,
      preserveAspectRatio: "none",
    },
    svg("path", { d: path, class: "line", "vector-effect": "non-scaling-stroke" }),
  );
}

function tellFacts(values) {
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const sources = [...sumBy(values, "sparing_energy_meter_joules_total", "source").keys()];
  const degraded = total(values, "sparing_energy_degraded") > 0;
  const source = sources.length
    ? sources
        .map((one) =>
          one === "model" ? "model: an estimate, not a meter's reading" : one,
        )
        .join(", ")
    : "none: this server counts no energy";
  const errors = [...sumBy(values, "sparing_requests_total", "result")].filter(
    ([name]) => name !== "ok",
  );
  const limit = total(values, "sparing_cache_limit_bytes");
  return [
    fact("Energy source", degraded ? `${source}; the meter cannot be read now` : source),
    fact(
      "Cache",
      limit
        ? `${count(total(values, "sparing_cache_entries"))} answers, ${bytes(total(values, "sparing_cache_bytes"))} of ${bytes(limit)}`
        : "off",
    ),
    fact(
      "Errors since the start",
      errors.length ? errors.map(([name, value]) => `${name} ${count(value)}`).join(", ") : "none",
    ),
    fact("Processes", count(total(values, "sparing_workers") || 1)),
  ];
}
