// The tab Try: one input on one route, and what became of it.

import { makeChat } from "/console/tabs/chat.js";
import { makeControls } from "/console/parts/controls.js";
import { clear, h, makeId } from "/console/basics/dom.js";
import { explain, makeBody } from "/console/parts/explain.js";
import { makeChooser, samplesFor, takesPicture } from "/console/parts/input.js";
import { showResult } from "/console/parts/result.js";
import { showSnippets } from "/console/parts/snippets.js";

// The version of each route that answers for its name: the stable one of a rollout, else the newest, which comes first.
export function newestOf(routes) {
  const found = new Map();
  for (const route of routes) {
    if (!found.has(route.route) || route.rollout?.role === "stable") found.set(route.route, route);
  }
  return [...found.values()];
}

// A select of routes; the first choice is a route that has samples.
export function makeRouteSelect(id, onChange) {
  const select = h("select", { id, onchange: onChange });
  return {
    select,
    fill(routes, preferred) {
      const kept =
        select.value ||
        preferred ||
        (routes.find((one) => samplesFor(one).length && takesPicture(one)) ?? routes[0]).route;
      clear(
        select,
        routes.map((one) => h("option", { value: one.route }, one.route)),
      );
      select.value = routes.some((one) => one.route === kept) ? kept : routes[0].route;
    },
  };
}

export function makeTry(panel, listRoutes) {
  const id = makeId("route");
  const about = h("p", { class: "hint" });
  const output = h("div", { class: "output", "aria-live": "polite" });
  let routes = [],
    route = null,
    running = null,
    last = null;
  const chooser = makeChooser({ onInput: run, onFault: (sentence) => fail(sentence) });
  const controls = makeControls(() => (route.chats ? undefined : run()));
  const chat = makeChat(() => [route, chooser.read(), controls.read()]);
  const { select, fill } = makeRouteSelect(id, choose);

  clear(
    panel,
    h(
      "div",
      { class: "sides" },
      h(
        "form",
        { class: "card ask", onsubmit: (event) => event.preventDefault() },
        h("div", { class: "control" }, h("label", { for: id }, "Route"), h("span"), select),
        about,
        chooser.element,
        h(
          "details",
          { open: matchMedia("(min-width: 60rem)").matches, class: "limits" },
          h("summary", {}, "Limits and options"),
          controls.element,
        ),
      ),
      output,
    ),
  );

  function choose() {
    const before = route;
    route = routes.find((one) => one.route === select.value);
    about.textContent = route.description || route.task;
    controls.use(route);
    chooser.use(route);
    if (before?.route === route.route) return;
    if (route.chats) {
      running?.abort();
      clear(output, chat.element);
      chat.begin();
    } else if (chooser.read() && takesPicture(route)) run();
    else invite();
  }

  function invite() {
    clear(
      output,
      h(
        "div",
        { class: "invite" },
        h("h2", {}, "See what an answer takes"),
        h(
          "p",
          {},
          samplesFor(route).length
            ? "Pick a sample or drop a picture. "
            : takesPicture(route)
              ? "Drop a picture. "
              : "Run the tensors. ",
          "The page shows which stages ran, how sure each one was, why the server stopped there, and what it cost.",
        ),
      ),
    );
  }

  function fail(sentence) {
    clear(
      output,
      h(
        "div",
        { class: "card" },
        h("h2", { tabindex: "-1" }, "No answer"),
        h("p", { class: "fault" }, sentence),
        h("button", { type: "button", onclick: run }, "Try again"),
      ),
    );
    output.removeAttribute("aria-busy");
  }

  async function run() {
    if (route.chats) return;
    const input = chooser.read();
    if (!input) return;
    running?.abort();
    const own = (running = new AbortController());
    output.setAttribute("aria-busy", "true");
    const parameters = controls.read();
    try {
      const { found, pictureUrl } = await explain(route, input, parameters, own.signal);
      if (running !== own) return;
      show(found, pictureUrl, input, parameters);
    } catch (error) {
      if (running !== own || error.name === "AbortError") return;
      if (error instanceof SyntaxError) fail(`This is not JSON: ${error.message}.`);
      else if (error.body?.explanation)
        show({ ...error.body.explanation, error: error.message }, null, input, parameters);
      else fail(error.message);
    }
  }

  function show(found, pictureUrl, input, parameters) {
    if (last) URL.revokeObjectURL(last);
    last = pictureUrl;
    const open = output.querySelector(".snippets")?.open ?? false;
    const tensors = input.tensors ? makeBody(input, parameters) : null;
    const snippets = showSnippets(route, parameters, input.name, tensors);
    snippets.open = open;
    clear(output, h("div", { class: "card" }, showResult(route, found, pictureUrl), snippets));
    output.removeAttribute("aria-busy");
    if (matchMedia("(max-width: 60rem)").matches) output.scrollIntoView({ block: "start" });
  }

  function routesChanged() {
    routes = newestOf(listRoutes());
    if (!routes.length) return;
    fill(routes);
    const same =
      route && routes.find((one) => one.route === route.route && one.digest === route.digest);
    if (same && same.route === select.value) route = same;
    else {
      route = null;
      choose();
    }
  }

  routesChanged();
  return { routesChanged };
}
