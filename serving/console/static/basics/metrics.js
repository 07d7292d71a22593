// Reads /metrics while a page that needs it is shown, and keeps the last minutes.

import { Failure, send } from "/console/basics/api.js";

const EVERY_MS = 2000;
const KEPT = 60; // samples, two minutes
const SERIES = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const parsed = new Map(); // the text of a series, and what it means

function parseSeries(text) {
  let found = parsed.get(text);
  if (!found) {
    const [, name, labels = ""] = SERIES.exec(text) ?? [null, text];
    found = {
      name,
      labels: Object.fromEntries(
        [...labels.matchAll(LABEL)].map(([, key, value]) => [key, value.replace(/\\(.)/g, "$1")]),
      ),
    };
    parsed.set(text, found);
  }
  return found;
}

const BUCKETS = "sparing_latency_seconds_bucket"; // also those of 0: a quantile needs their limits

// A scrape: its numbers by series, mostly without those that are 0.
export function parse(text) {
  const values = new Map();
  for (const line of text.split("\n")) {
    if (!line || line[0] === "#") continue;
    const place = line.lastIndexOf("} ") + 1 || line.indexOf(" ");
    const value = Number(line.slice(place + 1).split(" ")[0]);
    if (value !== 0 || line.startsWith(BUCKETS)) values.set(line.slice(0, place), value);
  }
  return values;
}

// Sums of a metric by the value of one label (of all series: by ""), for series that `fits` takes.
export function sumBy(values, name, label = "", fits = () => true) {
  const sums = new Map();
  for (const [text, value] of values) {
    if (!text.startsWith(name)) continue;
    const series = parseSeries(text);
    if (series.name !== name || !fits(series.labels)) continue;
    const key = label && (series.labels[label] ?? "");
    sums.set(key, (sums.get(key) ?? 0) + value);
  }
  return sums;
}

export const total = (values, name, fits) => sumBy(values, name, "", fits).get("") ?? 0;

// What counters grew by; a counter that is smaller began again with its server.
export function grow(values, before) {
  const grown = new Map();
  for (const [text, value] of values) {
    const old = before.get(text) ?? 0;
    const by = value >= old ? value - old : value;
    if (by || text.startsWith(BUCKETS)) grown.set(text, by);
  }
  return grown;
}

// A quantile of a histogram, in its unit; null without observations.
export function quantile(values, name, share, fits) {
  const buckets = [...sumBy(values, `${name}_bucket`, "le", fits)]
    .map(([le, value]) => [le === "+Inf" ? Infinity : Number(le), value])
    .sort((one, other) => one[0] - other[0]);
  const count = buckets.at(-1)?.[1] ?? 0;
  if (!count) return null;
  let below = 0,
    from = 0;
  for (const [upTo, cumulated] of buckets) {
    if (cumulated >= share * count) {
      if (upTo === Infinity) return from;
      return (
        from +
        (upTo - from) * (cumulated > below ? (share * count - below) / (cumulated - below) : 1)
      );
    }
    [below, from] = [cumulated, upTo];
  }
  return from;
}

const samples = []; // {atMs, values}, the oldest first
const listeners = new Set();
let timer = null,
  polling = false;

async function poll() {
  timer = null;
  if (polling || !listeners.size || document.hidden) return;
  polling = true;
  let fault = null;
  try {
    const text = await (
      await send("/metrics", { headers: { accept: "text/plain" }, cache: "no-store" })
    ).text();
    samples.push({ atMs: performance.now(), values: parse(text) });
    if (samples.length > KEPT) samples.shift();
    if (!samples.at(-1).values.size)
      fault = "The server's metrics are switched off ([metrics] enabled = false).";
  } catch (error) {
    fault = error instanceof Failure ? error.message : String(error);
  }
  polling = false;
  for (const listener of listeners) listener(samples, fault);
  timer ??= setTimeout(poll, EVERY_MS);
}

// Calls the listener after each scrape, until `unwatch`. Nothing is asked while no tab watches or the page is hidden.
export function watch(listener) {
  listeners.add(listener);
  if (samples.length) listener(samples, null);
  if (timer === null) poll();
}

export function unwatch(listener) {
  listeners.delete(listener);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && listeners.size && timer === null) poll();
});
