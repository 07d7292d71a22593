// An answer: what it is, its path through the stages, why it stopped, and what it cost.

import { h } from "/console/basics/dom.js";
import { against, joules, macs, milliseconds, percent } from "/console/basics/units.js";

const SHOWN = 5; // classes
const SOURCES = {
  model: "an estimate, not a meter's reading",
  none: "no energy meter",
  replay: "replayed readings",
};
export const CAPTIONS = {
  cbnet: "Left: your input. Right: what the converter made of it.",
  "cbnet-gated": "Left: your input. Right: what the converter made of it.",
  "encoder-only": "Left: your input. Right: what the converter made of it.",
  acm: "Your input, and where the model spent its work on it: in all, and in each block of layers.",
  vlm: "The parts of the picture that the model read: all of them at first, then those that it kept.",
};

// One entry for each stage that ran, in order; a stage that ran again and again is summed up.
export function joinRuns(found) {
  const joined = [];
  for (const run of found.stages) {
    const last = joined.at(-1);
    if (last?.stage === run.stage) {
      joined[joined.length - 1] = {
        ...run,
        times: last.times + 1,
        macs: last.macs + run.macs,
        device_ms: last.device_ms + run.device_ms,
        energy_mj: run.energy_mj === null ? null : last.energy_mj + run.energy_mj,
      };
    } else joined.push({ ...run, times: 1 });
  }
  return joined;
}

// The full model's millijoules for this row: what it took, times the usual time of the full model's stages for one row
// over that of the stages that ran, for a single run's own times are noisy. Null if unknown.
export function estimateFullEnergy(route, runs) {
  const spent = runs.reduce((sum, run) => sum + (run.energy_mj ?? 0), 0);
  if (!spent) return null;
  const macsOf = new Map(route.stages.map((one) => [one.name, one.macs]));
  if (runs.some((run) => run.macs < (macsOf.get(run.stage) ?? 0))) return null; // ran in part; its profile is of such runs too
  const usual = (name) => route.profile[name]?.one_row_ms ?? NaN;
  const last = route.stages.at(-1);
  const full = route.full_macs > last.macs ? route.stages : [last];
  const ran = runs.reduce((sum, run) => sum + run.times * usual(run.stage), 0);
  return (spent * full.reduce((sum, stage) => sum + usual(stage.name), 0)) / ran;
}

export function showResult(route, found, pictureUrl = null) {
  const answer = found.answer,
    runs = joinRuns(found);
  return h(
    "div",
    { class: "result" },
    answer
      ? h(
          "h2",
          { tabindex: "-1" },
          nameAnswer(answer),
          " ",
          h("small", {}, `${percent(answer.confidence)} sure`),
        )
      : h("h2", {}, "No answer"),
    h("p", { class: "why" }, tellWhy(route, found, runs)),
    showPath(route, found, runs),
    answer && showCosts(route, found, runs),
    answer && showClasses(route, answer),
    pictureUrl &&
      h(
        "figure",
        {},
        h("img", {
          src: pictureUrl,
          alt: CAPTIONS[route.pipeline] ?? "The route's picture of this answer",
        }),
        h("figcaption", {}, CAPTIONS[route.pipeline] ?? "The route's picture of this answer"),
      ),
    answer &&
      !answer.probabilities &&
      h(
        "details",
        { open: true },
        h("summary", {}, "Outputs"),
        h("pre", {}, JSON.stringify(outputsOf(answer), null, 1)),
      ),
    showFacts(route, found),
  );
}

function nameAnswer(answer) {
  if (answer.labels)
    return answer.labels.map((one) => one.label_name ?? one.label).join(", ") || "No label";
  return answer.label_name ?? (answer.label === undefined ? "Answered" : `Class ${answer.label}`);
}

function outputsOf(answer) {
  const {
    confidence,
    exit,
    stopped_by,
    cached,
    macs: spent,
    energy_mj,
    latency_ms,
    ...outputs
  } = answer;
  return outputs;
}

function needed(found, stage) {
  const least = found.parameters?.min_confidence;
  if (stage.threshold === null || stage.threshold === undefined) return null;
  return typeof least === "number" ? Math.max(least, stage.threshold) : stage.threshold;
}

function tellWhy(route, found, runs) {
  if (!found.answer) return found.error ?? "The request failed.";
  const { stopped_by, exit, confidence } = found.answer;
  const stage = runs.find((run) => run.stage === exit);
  if (stopped_by === "confidence" && stage && needed(found, stage) !== null) {
    const rest = found.not_run.length;
    const spared =
      rest === 0 ? "" : ` The ${rest === 1 ? "stage" : `${rest} stages`} after it did not run.`;
    return `Stopped at ${exit}: it is ${percent(confidence)} sure and needs ${percent(needed(found, stage))}.${spared}`;
  }
  if (stopped_by === "last_stage") {
    if (route.stages.length === 1) {
      const told = against(found.answer.macs, route.full_macs);
      return told.includes(" less ")
        ? `This route has one stage. It took ${told}.`
        : "This route has one stage, so nothing could be spared.";
    }
    if (runs.length === 1) {
      return `Went straight to ${exit}, the last stage: no stage before it may end an answer that must be so sure.`;
    }
    return `Went on to ${exit}, the last stage, because no stage before it was sure enough.`;
  }
  if (stopped_by === "cache" && !found.answer.similar) {
    return `The ${found.cache.tier === 2 ? "remote" : "local"} cache held this answer, so no stage ran.`;
  }
  const why = found.why ?? "";
  return why.charAt(0).toUpperCase() + why.slice(1) + (why.endsWith(".") ? "" : ".");
}

function showPath(route, found, runs) {
  const order = route.stages.map((stage) => stage.name);
  const last = Math.max(...runs.map((run) => order.indexOf(run.stage)));
  const rest = found.not_run.map((name) => ({
    stage: name,
    result: "not-run",
    skipped: order.indexOf(name) < last,
    macs: route.stages.find((one) => one.name === name)?.macs,
  }));
  const all = [
    ...rest.filter((one) => one.skipped),
    ...runs,
    ...rest.filter((one) => !one.skipped),
  ];
  return h(
    "ol",
    { class: "path", "aria-label": "Path through the stages" },
    found.answer?.cached && showCache(found),
    all.map((run) => showStage(found, run)),
  );
}

const ENDS = { answered: "Answered", continued: "Went on", failed: "Failed", "not-run": "Not run" };

function showStage(found, run) {
  const ran = run.result !== "not-run";
  const need = needed(found, run),
    sure = run.confidence;
  const guess = run.outputs?.label_name;
  return h(
    "li",
    { class: `stage ${run.result}` },
    h(
      "p",
      { class: "stage-head" },
      h("strong", {}, run.stage),
      h("span", { class: "tag" }, run.skipped ? "Skipped" : ENDS[run.result]),
    ),
    ran &&
      sure !== null && [
        showMeter(sure, need),
        h(
          "p",
          {},
          guess && h("b", {}, `${guess}, `),
          `${percent(sure)} sure`,
          need !== null && `, needs ${percent(need)}`,
        ),
      ],
    ran &&
      sure === null &&
      run.result === "continued" &&
      h("p", {}, "Passed its work on, without an answer of its own"),
    h(
      "p",
      { class: "cost" },
      ran
        ? [
            macs(run.macs),
            milliseconds(run.device_ms),
            run.energy_mj !== null && joules(run.energy_mj),
            run.precision,
            run.times > 1 && `${run.times} runs`,
          ]
            .filter(Boolean)
            .join(" · ")
        : run.macs === undefined || found.cache?.state === "hit"
          ? ""
          : `${macs(run.macs)} saved`,
    ),
  );
}

function showCache(found) {
  const name = found.cache.tier === 2 ? "Remote cache" : "Local cache";
  return h(
    "li",
    { class: "stage answered" },
    h(
      "p",
      { class: "stage-head" },
      h("strong", {}, name),
      h("span", { class: "tag" }, ENDS.answered),
    ),
    h("p", {}, found.answer.similar ? "It held a similar picture." : "It held this very input."),
  );
}

function showMeter(sure, need) {
  return h(
    "div",
    { class: "meter", "aria-hidden": "true" },
    h("span", { class: "bar", style: { width: `${100 * sure}%` } }),
    need !== null && h("span", { class: "mark", style: { left: `${100 * Math.min(need, 1)}%` } }),
  );
}

function showCosts(route, found, runs) {
  const answer = found.answer,
    full = estimateFullEnergy(route, runs);
  const cached = answer.stopped_by === "cache";
  const tile = (name, value, note) =>
    h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, h("small", {}, note)));
  return h(
    "dl",
    { class: "tiles" },
    tile("Latency", milliseconds(answer.latency_ms), "inside the server"),
    tile(
      "Compute",
      macs(answer.macs),
      cached ? "the cache answered" : against(answer.macs, route.full_macs),
    ),
    tile(
      "Energy",
      joules(answer.energy_mj),
      answer.energy_mj === null
        ? SOURCES.none
        : cached
          ? "the cache answered"
          : tellEnergy(answer.energy_mj, full),
    ),
  );
}

function tellEnergy(spent, full) {
  if (!full) return "";
  const told = against(spent, full);
  return told.startsWith("as much") ? told : `about ${told}`;
}

function showClasses(route, answer) {
  if (!answer.probabilities) return null;
  const ranked = answer.probabilities
    .map((share, label) => ({ share, name: route.labels[label] ?? `Class ${label}` }))
    .sort((one, other) => other.share - one.share)
    .slice(0, SHOWN);
  return h(
    "table",
    { class: "classes" },
    h(
      "caption",
      {},
      ranked.length < answer.probabilities.length
        ? `Best ${ranked.length} of ${answer.probabilities.length} classes`
        : "Classes",
    ),
    h(
      "tbody",
      {},
      ranked.map(({ share, name }) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name),
          h(
            "td",
            { class: "wide" },
            h(
              "div",
              { class: "meter", "aria-hidden": "true" },
              h("span", { class: "bar", style: { width: `${100 * share}%` } }),
            ),
          ),
          h("td", { class: "number" }, percent(share)),
        ),
      ),
    ),
  );
}

const CACHE = {
  hit: "this answer came from it",
  similar: "the answer of a similar picture",
  miss: "not in it yet",
  joined: "computed together with the same input of another request",
  "not used": "not used",
};

// The certificate in words: what is promised of the route's answers.
export function tellCertificate(route) {
  if (route.certificate !== "none") return route.certificate;
  return route.stages.length > 1
    ? "none; no bound on errors by early answers is proven"
    : "none; a single stage needs none";
}

function showFacts(route, found) {
  const fact = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
  const stored = found.cache.stored && found.answer && !found.answer.cached ? "; it is now" : "";
  return h(
    "details",
    { class: "facts" },
    h("summary", {}, "More about this answer"),
    h(
      "dl",
      {},
      fact("Route", `${found.route}, version ${found.version}`),
      fact("Cache", `${CACHE[found.cache.state] ?? found.cache.state}${stored}`),
      found.energy_source &&
        fact(
          "Energy source",
          `${found.energy_source}${SOURCES[found.energy_source] ? `: ${SOURCES[found.energy_source]}` : ""}`,
        ),
      fact("Certificate", tellCertificate(route)),
      fact("Digest", found.digest),
    ),
    h(
      "details",
      {},
      h("summary", {}, "Explanation as JSON"),
      h("pre", {}, JSON.stringify(found, null, 1)),
    ),
  );
}
