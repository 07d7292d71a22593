// Choosing an input: a picture (dropped, pasted, chosen, or a sample) or tensors as JSON text.
// All choosers of the page show the same input.

import { clear, h, makeId } from "/console/basics/dom.js";

const SAMPLES = [
  { file: "ankle-boot.png", label: "Ankle boot", hint: "easy" },
  { file: "shirt.png", label: "Shirt", hint: "harder" },
  { file: "coat.png", label: "Coat", hint: "hard" },
];
const MOST_VALUES = 200_000; // of an example; more would make the page slow
const TYPES = ["image/png", "image/jpeg"];
const changed = new EventTarget();
let picture = null; // {blob, name, url}

export const takesPicture = (route) =>
  route.picture !== null && (route.chats || route.inputs.length === 1);
export const samplesFor = (route) => SAMPLES.filter((one) => route.labels.includes(one.label));

export function setPicture(blob, name) {
  if (picture) URL.revokeObjectURL(picture.url);
  picture = { blob, name, url: URL.createObjectURL(blob) };
  changed.dispatchEvent(new Event("change"));
}

// Tensors of one row that fit the route, to begin with.
function exampleTensors(route) {
  const inputs = route.inputs.map((spec) => {
    const shape = spec.shape.map((size, place) => (place === 0 || size < 0 ? 1 : size));
    const values = shape.reduce((product, size) => product * size, 1);
    const value = spec.datatype === "BYTES" ? "text" : spec.datatype === "BOOL" ? false : 0;
    return {
      name: spec.name,
      datatype: spec.datatype,
      shape,
      data: values > MOST_VALUES ? [] : Array(values).fill(value),
    };
  });
  return JSON.stringify({ inputs });
}

// `onInput` is called when there is a new input, `onFault` with a sentence about one that cannot be used.
export function makeChooser({ onInput, onFault }) {
  const element = h("div", { class: "chooser" });
  let route = null,
    text = null;

  function take(file) {
    if (!file) return;
    if (!TYPES.includes(file.type)) {
      onFault(
        `${file.name || "What you pasted"} is not a PNG or JPEG picture. The server reads these two kinds.`,
      );
      return;
    }
    setPicture(file, file.name || "pasted picture");
  }

  async function takeSample(sample) {
    const response = await fetch(`/console/samples/${sample.file}`).catch(() => null);
    if (response?.ok) setPicture(await response.blob(), sample.file);
    else onFault("The sample could not be loaded: the server does not answer.");
  }

  function drawPicture() {
    const id = makeId("file");
    const file = h("input", {
      type: "file",
      id,
      class: "hidden",
      accept: TYPES.join(),
      onchange: () => take(file.files[0]),
    });
    const shown = picture
      ? h("img", { src: picture.url, alt: `Your input: ${picture.name}`, class: "chosen" })
      : h("span", { class: "plus", "aria-hidden": "true" }, "+");
    const zone = h(
      "label",
      { for: id, class: "drop" },
      shown,
      h(
        "span",
        {},
        picture ? h("strong", {}, picture.name) : h("strong", {}, "Choose a picture"),
        h("br"),
        h(
          "small",
          {},
          picture ? "choose, drop or paste another" : "or drop or paste one: PNG or JPEG",
        ),
      ),
    );
    for (const name of ["dragenter", "dragover"]) {
      zone.addEventListener(name, (event) => {
        event.preventDefault();
        zone.classList.add("over");
      });
    }
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      take(event.dataTransfer.files[0]);
    });
    const samples = samplesFor(route);
    clear(
      element,
      file,
      zone,
      samples.length > 0 &&
        h(
          "div",
          { class: "samples", role: "group", "aria-label": "Samples" },
          samples.map((sample) =>
            h(
              "button",
              { type: "button", onclick: () => takeSample(sample) },
              h("img", { src: `/console/samples/${sample.file}`, alt: "", width: 44, height: 44 }),
              h("span", {}, sample.label, h("br"), h("small", {}, sample.hint)),
            ),
          ),
        ),
    );
  }

  function drawText() {
    const id = makeId("tensors");
    text = h("textarea", { id, rows: 12, spellcheck: "false" });
    text.value = exampleTensors(route);
    const shapes = route.inputs
      .map((one) => `${one.name}: ${one.datatype} [${one.shape.join(", ")}]`)
      .join("; ");
    clear(
      element,
      h("label", { for: id }, "One row of tensors, as JSON"),
      h("p", { class: "hint" }, shapes),
      text,
      h("button", { type: "button", class: "primary", onclick: () => onInput() }, "Run"),
    );
  }

  changed.addEventListener("change", () => {
    if (!route || !takesPicture(route)) return;
    drawPicture();
    if (element.offsetParent !== null) onInput();
  });
  document.addEventListener("paste", (event) => {
    if (element.offsetParent === null || !route || !takesPicture(route)) return;
    const file = event.clipboardData?.files[0];
    if (file) take(file);
  });

  return {
    element,
    use(given) {
      route = given;
      if (takesPicture(route)) drawPicture();
      else drawText();
    },
    // The body of a request; null if nothing is chosen.
    read() {
      if (!takesPicture(route)) return { body: text.value, name: "input.json", tensors: true };
      return picture && { body: picture.blob, name: picture.name, tensors: false };
    },
  };
}
