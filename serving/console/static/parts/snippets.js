// The request that the page sends, as code to copy. It never holds the token.

import { h } from "/console/basics/dom.js";
import { readToken } from "/console/basics/api.js";

const GRPC_PORT = 3001; // unless the server's settings change it, which this page cannot know

function query(parameters) {
  const text = new URLSearchParams(
    Object.entries(parameters).map(([name, value]) => [name, String(value)]),
  ).toString();
  return text && `?${text}`;
}

// For a shell.
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const quote = (text) => `"${text.replace(/[\\"]/g, "\\$&")}"`;
const python = (value) =>
  value === true ? "True" : value === false ? "False" : JSON.stringify(value);
const dictionary = (given) =>
  `{${Object.entries(given)
    .map(([name, value]) => `"${name}": ${python(value)}`)
    .join(", ")}}`;

// `tensors` is the body of a request of tensors, or null for a picture.
function writeCurl(route, parameters, file, tensors) {
  const token = readToken() ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const data = tensors ?? `@${file}`;
  const path = tensors ? "explain" : `predict${query(parameters)}`;
  return `curl${token} --data-binary ${shell(data)} \\\n  "${location.origin}/v1/routes/${route.route}/${path}"`;
}

function writeRequests(route, parameters, file, tensors) {
  const token = readToken() ? '\n    headers={"Authorization": f"Bearer {token}"},' : "";
  const params = Object.keys(parameters).length && !tensors
    ? `\n    params=${dictionary(mapValues(parameters, String))},`
    : "";
  return `import requests

answer = requests.post(
    "${location.origin}/v1/routes/${route.route}/${tensors ? "explain" : "predict"}",
    data=${tensors ? JSON.stringify(tensors) : `open(${quote(file)}, "rb")`},${params}${token}
    timeout=10,
)
answer.raise_for_status()
print(answer.json())`;
}

const mapValues = (given, change) =>
  Object.fromEntries(Object.entries(given).map(([name, value]) => [name, change(value)]));

function writeTensors(route, file, tensors) {
  if (tensors) {
    return `import json
import numpy as np

given = json.loads(${JSON.stringify(tensors)})["inputs"]
inputs = []
for one in given:
    tensor = triton.InferInput(one["name"], one["shape"], one["datatype"])
    tensor.set_data_from_numpy(
        np.array(one["data"], triton_to_np_dtype(one["datatype"])).reshape(one["shape"])
    )
    inputs.append(tensor)`;
  }
  const { width, height, channels, input } = route.picture;
  const mode = channels === 1 ? "L" : "RGB";
  return `import numpy as np
from PIL import Image

picture = Image.open(${quote(file)}).convert("${mode}")
picture = picture.resize((${width}, ${height}), Image.Resampling.BILINEAR)
rows = np.asarray(picture, np.uint8)[None]
tensor = triton.InferInput("${input}", list(rows.shape), "UINT8")
tensor.set_data_from_numpy(rows)
inputs = [tensor]`;
}

function writeTriton(route, parameters, file, tensors, grpc) {
  const kind = grpc ? "grpc" : "http";
  const safe = location.protocol === "https:";
  const port = grpc ? GRPC_PORT : location.port || (safe ? 443 : 80);
  const address = `"${location.hostname}:${port}"${safe ? ", ssl=True" : ""}`;
  const given = grpc ? mapValues(parameters, String) : parameters;
  const line = Object.keys(given).length ? `\n        parameters=${dictionary(given)},` : "";
  const token = readToken()
    ? `\n        headers={"${grpc ? "authorization" : "Authorization"}": f"Bearer {token}"},`
    : "";
  const more = tensors ? "\nfrom tritonclient.utils import triton_to_np_dtype" : "";
  return `import tritonclient.${kind} as triton${more}
${writeTensors(route, file, tensors)}
names = ${JSON.stringify([...route.outputs.map((one) => one.name), "confidence", "exit", "stopped_by", "macs", "energy_mj"])}
with triton.InferenceServerClient(${address}) as client:${grpc ? "  # [server] grpc_port" : ""}
    answer = client.infer(
        "${route.route}",
        inputs,
        outputs=[triton.InferRequestedOutput(name) for name in names],${line}${token}
    )
for name in names:
    print(name, answer.as_numpy(name))`;
}

function writeChat(route, parameters) {
  const token = readToken() ? "token" : '"none"';
  const more = Object.keys(parameters).length ? `\n    extra_body=${dictionary(parameters)},` : "";
  return `from openai import OpenAI

client = OpenAI(base_url="${location.origin}/v1", api_key=${token})
stream = client.chat.completions.create(
    model="${route.route}",
    messages=[{"role": "user", "content": "…"}],
    stream=True,${more}
)
for event in stream:
    if event.choices:
        print(event.choices[0].delta.content or "", end="")`;
}

// Returns the details element "Copy this request".
export function showSnippets(route, parameters, file, tensors) {
  const kinds = route.chats
    ? [["Python (openai)", () => writeChat(route, parameters)]]
    : [
        ["curl", () => writeCurl(route, parameters, file, tensors)],
        ["Python (requests)", () => writeRequests(route, parameters, file, tensors)],
        ["Python (tritonclient)", () => writeTriton(route, parameters, file, tensors, false)],
        ["gRPC", () => writeTriton(route, parameters, file, tensors, true)],
      ];
  const code = h("pre", { tabindex: 0, "aria-label": "The request as code" });
  const copied = h("span", { role: "status" });
  const buttons = kinds.map(([name, write]) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": "false",
        onclick: (event) => {
          for (const button of buttons)
            button.setAttribute("aria-pressed", String(button === event.currentTarget));
          code.textContent = write();
          copied.textContent = "";
        },
      },
      name,
    ),
  );
  const copy = h(
    "button",
    {
      type: "button",
      class: "primary",
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(code.textContent);
          copied.textContent = "Copied.";
        } catch {
          getSelection().selectAllChildren(code);
          copied.textContent = "Selected: press Ctrl+C to copy.";
        }
      },
    },
    "Copy",
  );
  buttons[0].click();
  return h(
    "details",
    { class: "snippets" },
    h("summary", {}, "This request as code"),
    h("div", { class: "choices", role: "group", "aria-label": "Language" }, buttons),
    code,
    h("p", { class: "buttons" }, copy, copied),
  );
}
