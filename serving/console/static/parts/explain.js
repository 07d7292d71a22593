// Asks the server for an answer with its path, and for the picture of the path where a route draws one.

import { send } from "/console/basics/api.js";

function address(route, parameters) {
  const fields = Object.entries(parameters).map(([name, value]) => [name, String(value)]);
  return `/v1/routes/${encodeURIComponent(route.route)}/explain?${new URLSearchParams([["version", route.version], ...fields])}`;
}

// The request of tensors takes its parameters in its body.
export function makeBody(input, parameters) {
  if (!input.tensors) return input.body;
  const given = JSON.parse(input.body);
  return JSON.stringify({ ...given, parameters: { ...given.parameters, ...parameters } });
}

// Returns {found, pictureUrl}; `found` is the explanation. Raises Failure.
export async function explain(route, input, parameters, signal) {
  const path = address(route, input.tensors ? {} : parameters);
  const body = makeBody(input, parameters);
  const asked = { method: "POST", body, signal };
  const found = await (
    await send(path, { ...asked, headers: { accept: "application/json" } })
  ).json();
  return { found, pictureUrl: route.draws ? await drawPath(path, asked) : null };
}

// The picture of the path of a request, or null. The server runs the request once more for it.
export const draw = (route, body, parameters) =>
  drawPath(address(route, parameters), { method: "POST", body });

// A path that cannot be drawn, such as that of a picture that no converter saw, has no picture.
async function drawPath(path, asked) {
  try {
    const response = await send(path, { ...asked, headers: { accept: "image/png, */*;q=0.1" } });
    const drawn = response.headers.get("content-type") === "image/png";
    return drawn ? URL.createObjectURL(await response.blob()) : null;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}
