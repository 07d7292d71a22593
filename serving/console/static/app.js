// The console: its tabs, the token, and whether the server is there.

import { events, getJson, keepToken, readToken } from "/console/basics/api.js";
import { makeCompare } from "/console/tabs/compare.js";
import { makeFleet } from "/console/tabs/fleet.js";
import { makeRoutes } from "/console/tabs/routes.js";
import { makeTry } from "/console/tabs/try.js";

const find = (id) => document.getElementById(id);
const server = find("server"),
  notice = find("notice"),
  dialog = find("token-dialog");
const PAGES = ["try", "compare", "routes", "fleet"];
const tabs = PAGES.map((name) => find(`tab-${name}`));
const makers = { try: makeTry, compare: makeCompare, routes: makeRoutes, fleet: makeFleet };
const pages = {};
let shown = "";
let routes = [];

function show(name, focus = false) {
  if (name === shown) return;
  pages[shown]?.hide?.();
  shown = name;
  for (const [index, page] of PAGES.entries()) {
    const chosen = page === name;
    tabs[index].setAttribute("aria-selected", String(chosen));
    tabs[index].tabIndex = chosen ? 0 : -1;
    find(`panel-${page}`).hidden = !chosen;
    if (chosen && focus) tabs[index].focus();
  }
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  if (routes.length) open(name);
}

function open(name) {
  pages[name] ??= makers[name](find(`panel-${name}`), () => routes);
  pages[name].show?.();
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => show(PAGES[index]));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const last = PAGES.length - 1;
    const to =
      event.key === "Home"
        ? 0
        : event.key === "End"
          ? last
          : step
            ? (index + step + PAGES.length) % PAGES.length
            : null;
    if (to === null) return;
    event.preventDefault();
    show(PAGES[to], true);
  });
}
addEventListener("hashchange", () => {
  const name = location.hash.slice(1);
  if (PAGES.includes(name)) show(name);
});

function say(sentence) {
  notice.textContent = sentence;
  notice.hidden = !sentence;
}

async function load() {
  try {
    const [about, found] = await Promise.all([getJson("/v2"), getJson("/v1/routes")]);
    routes = found.routes;
    find("version").textContent = `Version ${about.version}`;
    const names = new Set(routes.map((one) => one.route)).size;
    server.textContent = `Ready, ${names} ${names === 1 ? "route" : "routes"}`;
    server.className = "ready";
    say(routes.length ? "" : "The server serves no route. Its log says why.");
    for (const page of Object.values(pages)) page.routesChanged?.();
    if (routes.length) open(shown);
  } catch (error) {
    if (error.status !== 401) say(error.message);
    server.textContent = error.status === 401 ? "A token is needed" : "Not connected";
    server.className = "away";
  }
}

function askToken() {
  if (dialog.open) return;
  find("token").value = "";
  dialog.showModal();
}
dialog.addEventListener("close", () => {
  if (dialog.returnValue !== "save") return;
  keepToken(find("token").value.trim());
  find("token").value = "";
  load();
});
find("token-button").addEventListener("click", askToken);
events.addEventListener("token", () => {
  find("token-title").textContent = readToken()
    ? "The server does not know this token"
    : "This server needs a token";
  askToken();
});
events.addEventListener("stale", load); // a route may be gone
events.addEventListener("offline", () => {
  server.textContent = "Not connected";
  server.className = "away";
  say("The server does not answer. This page tries again until it does.");
});
events.addEventListener("online", () => {
  say("");
  load();
});

show(PAGES.includes(location.hash.slice(1)) ? location.hash.slice(1) : "try");
load();
