// Starts what the page needs. Every page works without any of this; here it comes alive.

import * as keys from "./keys.js";
import * as send from "./send.js";
import * as times from "./times.js";
import { connect } from "./live.js";

document.body.classList.add("js");
times.start();
send.start();
theme();
copyButtons();
menus();

const page = document.body.dataset.page;
const bindings = { ...keys.everywhere };

if (page === "alerts") {
  const alerts = await import("./alerts.js");
  alerts.start();
  sessionStorage.setItem("postern-list", location.pathname + location.search);
  Object.assign(bindings, {
    j: () => alerts.move(1),
    k: () => alerts.move(-1),
    ArrowDown: () => alerts.move(1),
    ArrowUp: () => alerts.move(-1),
    a: alerts.acknowledge,
    x: alerts.pick,
    ".": alerts.showNewer,
    Escape: () => (alerts.unselect(), document.activeElement?.blur()),
    "/": () => document.getElementById("q").select(),
  });
} else if (page === "alert") {
  const back = document.getElementById("back");
  back.href = sessionStorage.getItem("postern-list") ?? back.href;
  Object.assign(bindings, {
    a: () => document.querySelector("#actions button:not(.danger)")?.click(),
    n: () => document.querySelector("textarea[name=text]")?.focus(),
    u: () => back.click(),
    Escape: () => back.click(),
  });
} else if (page === "configuration") {
  (await import("./editor.js")).start();
} else if (page === "secrets") {
  (await import("./seal.js")).start();
} else if (page === "mibs") {
  (await import("./mibs.js")).start();
  bindings["/"] = () => document.querySelector("input[type=search]")?.select();
} else if (page === "gateways") {
  const links = () => [...document.querySelectorAll(".gateways .name a")];
  const move = (step) => {
    const all = links();
    const at = all.indexOf(document.activeElement);
    all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)]?.focus();
  };
  Object.assign(bindings, { j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1) });
}
const events = document.querySelector("main[data-events]")?.dataset.events;
if (events) connect(events, {});
keys.bind(bindings);

function theme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const order = ["", "light", "dark"];
  const names = { "": "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  const label = () => {
    button.textContent = names[root.dataset.theme ?? ""];
  };
  if (!button) return;
  label();
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme ?? "") + 1) % order.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("postern-theme", next);
    } catch {
      // Storage is forbidden: the choice lasts until the next page.
    }
    label();
  });
}

function copyButtons() {
  document.addEventListener("click", async ({ target }) => {
    document.getElementById(target.closest?.("[data-opens]")?.dataset.opens)?.showModal();
    const button = target.closest?.("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

function menus() {
  const close = (except) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== except) menu.open = false;
  };
  document.addEventListener("click", ({ target }) => close(target.closest?.("details.menu")));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && close());
}
