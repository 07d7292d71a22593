// Requests to the server, with the token that this tab keeps. Every error is a sentence.

const KEY = "sparing-token";
const RETRY_MS = 1000;

export const events = new EventTarget(); // "offline", "online", "token", "stale"
let offline = false;

export const readToken = () => sessionStorage.getItem(KEY) ?? "";

export function keepToken(token) {
  if (/^[\x21-\x7e]+$/.test(token)) sessionStorage.setItem(KEY, token); // a header takes no others
  else sessionStorage.removeItem(KEY);
}

export class Failure extends Error {
  constructor(sentence, status = 0, body = null) {
    super(sentence);
    this.status = status;
    this.body = body;
  }
}

const SENTENCES = {
  400: "The server cannot use this input",
  401: "The server needs a token",
  404: "The server does not serve this",
  406: "The server cannot answer in this form",
  408: "The request arrived too slowly",
  413: "The input is too large",
  415: "The server does not read this kind of body",
  429: "The server has too much to do",
  500: "The model failed for this input",
  503: "The server cannot answer now",
  504: "The time limit passed before there was an answer",
};

// Returns the response; its status is below 400. Raises Failure.
export async function send(path, options = {}) {
  const headers = { ...options.headers };
  const token = readToken();
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    loseServer();
    throw new Failure("The server does not answer. This page tries again until it does.");
  }
  findServer();
  if (response.status >= 400) throw await describe(response);
  return response;
}

export const getJson = async (path, options) => (await send(path, options)).json();

async function describe(response) {
  const body = await response.json().catch(() => null);
  const detail = body?.error?.message ?? body?.error ?? `status ${response.status}`;
  if (response.status === 401) events.dispatchEvent(new Event("token"));
  if (response.status === 404) events.dispatchEvent(new Event("stale"));
  const wait = response.headers.get("retry-after");
  const after = wait ? ` Try again in ${wait} s.` : "";
  const sentence = `${SENTENCES[response.status] ?? "The server refused"}: ${detail}.${after}`;
  return new Failure(sentence, response.status, body);
}

function findServer() {
  if (!offline) return;
  offline = false;
  events.dispatchEvent(new Event("online"));
}

function loseServer() {
  if (offline) return;
  offline = true;
  events.dispatchEvent(new Event("offline"));
  const again = async () => {
    try {
      await fetch("/livez", { cache: "no-store" });
      findServer();
    } catch {
      setTimeout(again, RETRY_MS);
    }
  };
  setTimeout(again, RETRY_MS);
}
