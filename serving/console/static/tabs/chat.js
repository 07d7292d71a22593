// A chat with a vision-language route, whose answer comes token by token.

import { send } from "/console/basics/api.js";
import { clear, h, makeId } from "/console/basics/dom.js";
import { draw } from "/console/parts/explain.js";
import { CAPTIONS } from "/console/parts/result.js";
import { showSnippets } from "/console/parts/snippets.js";
import { joules, milliseconds } from "/console/basics/units.js";

const asDataUrl = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The picture could not be read."));
    reader.readAsDataURL(blob);
  });

// Yields the events of a stream of server-sent events.
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

// `read` returns the route, the chosen picture or null, and the parameters.
export function makeChat(read) {
  const id = makeId("question");
  const log = h("ol", { class: "chat", "aria-label": "Chat", "aria-live": "polite" });
  const question = h("textarea", { id, rows: 2 });
  const ask = h("button", { class: "primary" }, "Ask");
  const stop = h(
    "button",
    { type: "button", hidden: true, onclick: () => running?.abort() },
    "Stop",
  );
  let running = null;
  const code = h("div");
  let urls = []; // of the pictures in the log
  const form = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        start();
      },
    },
    h("label", { for: id }, "Your question"),
    question,
    h("p", { class: "buttons" }, ask, stop),
  );
  const element = h("div", { class: "card" }, h("h2", {}, "Chat"), log, form, code);
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });

  function keep(url) {
    urls.push(url);
    return url;
  }

  async function start() {
    const [route, input, parameters] = read();
    const text = question.value.trim();
    if (!text || ask.disabled) return;
    ask.disabled = true;
    stop.hidden = false;
    running = new AbortController();
    question.value = "";
    const words = h("p"),
      cost = h("p", { class: "cost" });
    log.append(
      h(
        "li",
        { class: "asked" },
        input &&
          h("img", {
            src: keep(URL.createObjectURL(input.body)),
            alt: input.name,
            height: 64,
          }),
        h("p", {}, text),
      ),
      h("li", { class: "said" }, words, cost),
    );
    try {
      const parts = [{ type: "text", text }];
      if (input)
        parts.unshift({ type: "image_url", image_url: { url: await asDataUrl(input.body) } });
      const body = {
        model: route.route,
        messages: [{ role: "user", content: parts }],
        stream: true,
        stream_options: { include_usage: true },
        ...parameters,
      };
      const response = await send("/v1/chat/completions", {
        method: "POST",
        body: JSON.stringify(body),
        signal: running.signal,
      });
      for await (const event of readEvents(response)) {
        if (event.error)
          throw new Error(`The answer broke off: ${event.error.message ?? event.error}.`);
        words.append(event.choices?.[0]?.delta?.content ?? "");
        if (event.usage) cost.textContent = tellCost(event.usage);
      }
      if (input && route.draws)
        cost.after(offerPicture(route, input, { ...parameters, prompt: text }, keep));
    } catch (error) {
      const stopped = error.name === "AbortError";
      words.append(h("span", { class: "fault" }, stopped ? " Stopped." : error.message));
    }
    stop.hidden = true;
    ask.disabled = false;
    question.focus();
    clear(code, showSnippets(route, parameters, "", null));
  }

  return {
    element,
    begin() {
      running?.abort();
      clear(log);
      for (const url of urls) URL.revokeObjectURL(url);
      urls = [];
      clear(code);
    },
  };
}

// A button for the picture of what the model read.
function offerPicture(route, input, parameters, keep) {
  const button = h("button", { type: "button" }, "Show what it read");
  button.addEventListener("click", async () => {
    button.disabled = true;
    const url = await draw(route, input.body, parameters).catch(() => null);
    button.replaceWith(
      url
        ? h(
            "figure",
            {},
            h("img", { src: keep(url), alt: CAPTIONS.vlm }),
            h("figcaption", {}, CAPTIONS.vlm),
          )
        : h("p", { class: "fault" }, "The server could not draw this answer."),
    );
  });
  return button;
}

function tellCost(usage) {
  const layers = usage.visual_tokens_by_layer ?? [];
  const kept =
    layers.length && usage.visual_tokens
      ? `read ${layers[0]} visual tokens in the first layer and ${layers.at(-1)} in the last`
      : "";
  return [
    `first token after ${milliseconds(usage.time_to_first_token_ms)}`,
    `all ${usage.completion_tokens} after ${milliseconds(usage.latency_ms)}`,
    usage.energy_j !== null && joules(usage.energy_j * 1e3),
    kept,
    usage.stopped_by === "deadline" && "cut short by the time limit",
    usage.stopped_by === "energy" && "cut short by the energy budget",
  ]
    .filter(Boolean)
    .join(" · ");
}
