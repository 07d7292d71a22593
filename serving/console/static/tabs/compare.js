// The tab Compare: the same input on two routes, side by side.

import { clear, h, makeId } from "/console/basics/dom.js";
import { explain } from "/console/parts/explain.js";
import { makeChooser, takesPicture } from "/console/parts/input.js";
import { showResult } from "/console/parts/result.js";
import { makeRouteSelect, newestOf } from "/console/tabs/try.js";
import { joules, macs, milliseconds } from "/console/basics/units.js";

const shapeOf = (route) => JSON.stringify(route.picture ? "picture" : route.inputs);

export function makeCompare(panel, listRoutes) {
  const verdict = h("p", { class: "verdict", "aria-live": "polite" });
  const sides = [makeSide("First route"), makeSide("Second route")];
  const fault = h("p", { class: "fault", role: "alert" });
  const skip = h("input", { type: "checkbox", id: makeId("no_cache"), onchange: run });
  skip.checked = true;
  const chooser = makeChooser({
    onInput: run,
    onFault: (sentence) => {
      fault.textContent = sentence;
    },
  });
  let routes = [],
    running = null;

  clear(
    panel,
    h(
      "div",
      { class: "card ask wide-ask" },
      chooser.element,
      h(
        "div",
        { class: "control check" },
        skip,
        h("label", { for: skip.id }, "Skip the cache, so that both compute"),
      ),
      fault,
    ),
    verdict,
    h(
      "div",
      { class: "pair" },
      sides.map((side) => side.element),
    ),
  );

  function makeSide(label) {
    const id = makeId("route"),
      output = h("div", {}, h("p", { class: "hint" }, "Choose an input above."));
    const { select, fill } = makeRouteSelect(id, () => choose());
    return {
      select,
      fill,
      output,
      element: h(
        "section",
        { class: "card", "aria-label": label },
        h("div", { class: "control" }, h("label", { for: id }, label), h("span"), select),
        output,
      ),
    };
  }

  const chosen = (side) => routes.find((one) => one.route === side.select.value);

  function choose() {
    chooser.use(chosen(sides[0]));
    if (takesPicture(chosen(sides[0])) && chooser.read()) run();
  }

  async function run() {
    fault.textContent = "";
    verdict.textContent = "";
    const input = chooser.read();
    if (!input) return;
    running?.abort();
    const own = (running = new AbortController());
    const answers = [];
    for (const side of sides) {
      // one after the other, so that they do not slow each other down
      try {
        const { found, pictureUrl } = await explain(
          chosen(side),
          input,
          skip.checked ? { no_cache: true } : {},
          own.signal,
        );
        if (running !== own) return;
        answers.push(found);
        if (side.url) URL.revokeObjectURL(side.url);
        side.url = pictureUrl;
        clear(side.output, showResult(chosen(side), found, pictureUrl));
      } catch (error) {
        if (running !== own || error.name === "AbortError") return;
        clear(
          side.output,
          h(
            "p",
            { class: "fault" },
            error instanceof SyntaxError ? `This is not JSON: ${error.message}.` : error.message,
          ),
        );
      }
    }
    if (answers.length === 2) verdict.textContent = tell(answers);
  }

  function tell([one, other]) {
    const same =
      one.answer.label === undefined
        ? ""
        : one.answer.label === other.answer.label
          ? "Both give the same answer. "
          : "The answers differ. ";
    const cost = (found) =>
      `${found.route} took ${macs(found.answer.macs)}, ${joules(found.answer.energy_mj)} and ${milliseconds(found.answer.latency_ms)}`;
    return `${same}${cost(one)}; ${cost(other)}.`;
  }

  function routesChanged() {
    routes = newestOf(listRoutes()).filter((one) => !one.chats);
    if (!routes.length) {
      verdict.textContent = "No two routes here take the same input.";
      return;
    }
    sides[0].fill(routes);
    const first = chosen(sides[0]);
    const fitting = routes.filter(
      (one) =>
        one !== first &&
        shapeOf(one) === shapeOf(first) &&
        one.labels.join() === first.labels.join(),
    );
    sides[1].fill(
      routes,
      (fitting.find((one) => one.pipeline === "single") ?? fitting[0] ?? routes[0]).route,
    );
    choose();
  }

  routesChanged();
  return { routesChanged };
}
