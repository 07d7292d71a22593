// The tab Routes: what is served, and how it fares.

import { clear, h } from "/console/basics/dom.js";
import { grow, quantile, sumBy, total, unwatch, watch } from "/console/basics/metrics.js";
import { tellCertificate } from "/console/parts/result.js";
import { count, joules, macs, milliseconds, percent } from "/console/basics/units.js";

const KINDS = {
  "dual-cnn": "cascade",
  single: "one model",
  "multi-label": "several labels at once",
  model: "one model",
  exits: "early exits",
  cbnet: "converter",
  "cbnet-gated": "converter with a gate",
  "encoder-only": "converter",
  acm: "work per token",
  vlm: "vision-language",
};

export function makeRoutes(panel, listRoutes) {
  const span = h("p", { class: "hint", role: "status" }),
    list = h("div", { class: "cards" });
  clear(panel, span, list);
  let cards = [];

  function draw() {
    cards = listRoutes().map((route) => ({ route, live: h("div", { class: "live" }) }));
    clear(
      list,
      cards.map(({ route, live }) =>
        h(
          "article",
          { class: "card" },
          h(
            "h2",
            {},
            route.route,
            " ",
            h("small", {}, `version ${route.version} · ${KINDS[route.pipeline] ?? route.pipeline}`),
          ),
          h("p", {}, route.description),
          showStages(route),
          live,
          h("p", { class: "hint" }, `Certificate: ${tellCertificate(route)}`),
        ),
      ),
    );
  }

  function tell(samples, fault) {
    if (fault) {
      span.textContent = fault;
      return;
    }
    const recent = grow(samples.at(-1).values, samples[0].values);
    const busy = total(recent, "sparing_rows_total") > 0;
    const seconds = (samples.at(-1).atMs - samples[0].atMs) / 1000;
    span.textContent = busy
      ? `Figures of the last ${Math.round(seconds)} s.`
      : "No requests right now; figures since the server started.";
    for (const { route, live } of cards)
      clear(live, showLive(route, busy ? recent : samples.at(-1).values));
  }

  draw();
  return { show: () => watch(tell), hide: () => unwatch(tell), routesChanged: draw };
}

function showStages(route) {
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": `Stages of ${route.route}` },
    h(
      "table",
      { class: "stages" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["Stage", "Compute", "Stops when", "Precision"].map((name) =>
            h("th", { scope: "col" }, name),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        route.stages.map((stage) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, stage.name),
            h("td", {}, macs(stage.macs)),
            h(
              "td",
              {},
              stage.threshold === null ? "always" : `at least ${percent(stage.threshold)} sure`,
            ),
            h("td", {}, stage.precision ?? "one file"),
          ),
        ),
      ),
    ),
  );
}

function showLive(route, values) {
  const own = (labels) => labels.route === route.route;
  const exits = [
    ...sumBy(
      values,
      "sparing_rows_total",
      "exit",
      (labels) => own(labels) && labels.stopped_by !== "cache",
    ),
  ];
  const cached = total(
    values,
    "sparing_rows_total",
    (labels) => own(labels) && labels.stopped_by === "cache",
  );
  const rows = exits.reduce((sum, [, value]) => sum + value, 0) + cached;
  if (!rows) return h("p", {}, "No answers in this time.");
  const order = [
    ...new Set([...route.stages.map((stage) => stage.name), ...exits.map(([exit]) => exit)]),
  ];
  const paint = (name) => `part part-${name === "cache" ? "cache" : order.indexOf(name) % 5}`;
  const mix = [
    ...exits.sort((one, other) => order.indexOf(one[0]) - order.indexOf(other[0])),
    ["cache", cached],
  ].filter(([, value]) => value > 0);
  const spent = total(values, "sparing_macs_total", own),
    full = total(values, "sparing_full_macs_total", own);
  const energy = total(values, "sparing_energy_joules_total", own);
  const fact = (name, value) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value));
  return [
    h(
      "div",
      { class: "mix", "aria-hidden": "true" },
      mix.map(([name, value]) => h("span", { class: paint(name), style: { "flex-grow": value } })),
    ),
    h(
      "ul",
      { class: "legend" },
      mix.map(([name, value]) =>
        h(
          "li",
          {},
          h("span", { class: paint(name), "aria-hidden": "true" }),
          `${name === "cache" ? "from the cache" : name} ${percent(value / rows)}`,
        ),
      ),
    ),
    h(
      "dl",
      { class: "tiles" },
      fact("Answers", count(rows)),
      fact("Median latency", tellQuantile(values, 0.5, own)),
      fact("99th percentile", tellQuantile(values, 0.99, own)),
      fact("Compute saved", full ? percent(1 - spent / full) : "unknown"),
      fact("Energy per answer", energy ? joules((energy / rows) * 1e3) : "not measured"),
    ),
  ];
}

function tellQuantile(values, share, fits) {
  const found = quantile(values, "sparing_latency_seconds", share, fits);
  return found === null ? "unknown" : milliseconds(found * 1e3);
}
