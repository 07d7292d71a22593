// Sliders of what a request may ask for: on every route, and the parameters that a route declares.

import { clear, h, makeId } from "/console/basics/dom.js";
import { joules, milliseconds } from "/console/basics/units.js";

const TIMEOUTS_MS = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
const ENERGIES_MJ = [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 10000];

export function makeControls(onChange) {
  const element = h("div", { class: "controls" });
  let readers = [];

  function slider(label, name, { min, max, step, value, show, read, hint }) {
    const id = makeId(name),
      told = h("output", { for: id });
    const input = h("input", { type: "range", id, name, min, max, step });
    input.value = value;
    const start = input.value; // the nearest step
    const tell = () => {
      told.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", told.textContent);
    };
    input.addEventListener("input", tell);
    input.addEventListener("change", onChange);
    tell();
    readers.push(() => [name, input.value === start ? null : read(Number(input.value))]);
    return h(
      "div",
      { class: "control" },
      h("label", { for: id }, label),
      told,
      input,
      hint && h("small", {}, hint),
    );
  }

  // A slider over a list of values; its right end is "no limit".
  function steps(label, name, values, show, hint) {
    const last = values.length;
    return slider(label, name, {
      min: 0,
      max: last,
      step: 1,
      value: last,
      hint,
      show: (place) => (place === last ? "no limit" : show(values[place])),
      read: (place) => (place === last ? null : values[place]),
    });
  }

  function checkbox(label, name, value) {
    const id = makeId(name);
    const input = h("input", { type: "checkbox", id, name, onchange: onChange });
    input.checked = value;
    readers.push(() => [name, input.checked === value ? null : input.checked]);
    return h("div", { class: "control check" }, input, h("label", { for: id }, label));
  }

  function entry(name, schema) {
    const id = makeId(name);
    const input = schema.enum
      ? h(
          "select",
          { id, name, onchange: onChange },
          schema.enum.map((one) => h("option", { value: String(one) }, String(one))),
        )
      : h("input", { id, name, type: "text", onchange: onChange });
    const start = Array.isArray(schema.default)
      ? JSON.stringify(schema.default)
      : String(schema.default ?? "");
    input.value = start;
    readers.push(() => [name, input.value === start ? null : input.value]);
    return h(
      "div",
      { class: "control" },
      h("label", { for: id }, name),
      h("span"),
      input,
      schema.description && h("small", {}, schema.description),
    );
  }

  // A parameter that the route declares, by its JSON schema.
  function declared(name, schema) {
    if (schema.type === "boolean")
      return checkbox(schema.description || name, name, schema.default);
    const { minimum, maximum } = schema;
    if (
      ["number", "integer"].includes(schema.type) &&
      minimum !== undefined &&
      maximum !== undefined &&
      !schema.enum &&
      maximum - minimum <= 1e6
    ) {
      return slider(name, name, {
        min: minimum,
        max: maximum,
        step: schema.type === "integer" ? 1 : (maximum - minimum) / 100,
        value: schema.default,
        show: (value) => String(Number(value.toFixed(3))),
        read: (value) => value,
        hint: schema.description,
      });
    }
    return entry(name, schema);
  }

  return {
    element,
    use(route) {
      readers = [];
      const decides = route.stages.some((stage) => stage.threshold !== null);
      clear(
        element,
        Object.entries(route.parameters).map(([name, schema]) => declared(name, schema)),
        decides &&
          slider("Minimum confidence", "min_confidence", {
            min: 0,
            max: 1,
            step: 0.01,
            value: 0,
            hint: "for an early exit",
            show: (value) => (value === 0 ? "route's own" : `${Math.round(100 * value)} %`),
            read: (value) => (value === 0 ? null : value),
          }),
        steps("Time limit", "timeout_ms", TIMEOUTS_MS, milliseconds, "then the best answer so far"),
        steps("Energy budget", "energy_mj", ENERGIES_MJ, joules, "for one answer"),
        checkbox("Skip the cache", "no_cache", false),
      );
    },
    // The values that are not the defaults, by parameter.
    read() {
      return Object.fromEntries(
        readers.map((read) => read()).filter(([, value]) => value !== null),
      );
    },
  };
}
