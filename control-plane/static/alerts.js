// The alert list: rows arrive, change and leave while a person works in it. Nothing moves under a hand or an eye that is busy:
// then new rows wait behind a button and rows that no longer belong stay, dimmed.

import { morph, parse } from "./html.js";
import { connect } from "./live.js";
import { send } from "./send.js";
import { toast } from "./toast.js";

const MAX_ROWS = 400;
const POINTER_REST = 1000;
const LINGER = 1500;

const body = document.getElementById("rows");
const scroller = document.getElementById("scroller");
const newer = document.getElementById("newer");
const waiting = new Map();
let pointerAt = 0;

export function start() {
  connect(scroller.dataset.events, { row, remove });
  body.addEventListener("pointermove", () => (pointerAt = performance.now()));
  body.addEventListener("pointerleave", () => ((pointerAt = 0), settle()));
  scroller.addEventListener("scroll", settle, { passive: true });
  body.addEventListener("focusout", () => queueMicrotask(settle));
  body.addEventListener("change", selected);
  newer.addEventListener("click", showNewer);
  for (const field of document.querySelectorAll("#filters select")) field.addEventListener("change", () => field.form.requestSubmit());
  document.addEventListener("postern:done", ({ detail }) => detail.button?.form?.id === "act" && unselect());
  document.getElementById("filters").addEventListener("submit", withoutEmptyFields);
  document.addEventListener("postern:changed", ({ target }) => target.id === "counts" && title());
  setInterval(settle, 500);
  selected();
  title();
}

// How many critical alerts are open, for whoever looks at another tab.
function title() {
  const count = document.querySelector("#count-critical b").textContent;
  document.title = `${count === "0" ? "" : `(${count}) `}Alerts · Postern`;
}

function withoutEmptyFields({ target }) {
  for (const field of target.elements) if (field.name && field.value === "") field.disabled = true;
  // A page that comes back from the browser's memory must have them again.
  addEventListener("pageshow", () => [...target.elements].forEach((field) => (field.disabled = false)), { once: true });
}

function busy() {
  return scroller.scrollTop > 4 || scrollY > 4 || body.contains(document.activeElement) || performance.now() - pointerAt < POINTER_REST || Boolean(body.querySelector(".pick input:checked"));
}

function row({ id, revision, html }) {
  const known = document.getElementById(`a-${id}`);
  const fresh = parse(html).firstElementChild;
  if (known) {
    if (Number(known.dataset.revision) >= revision) return;
    const again = known.dataset.first !== fresh.dataset.first;
    const picked = known.querySelector(".pick input")?.checked;
    morph(known, fresh);
    const box = known.querySelector(".pick input");
    if (box && picked) box.checked = true;
    flash(known, "changed");
    if (again && !busy()) place(known);
  } else if (scroller.dataset.page === "first") {
    waiting.set(id, fresh);
    settle();
  }
}

function remove({ id, revision, html }) {
  waiting.delete(id);
  const known = document.getElementById(`a-${id}`);
  if (known && Number(known.dataset.revision) < revision) {
    if (html) morph(known, parse(html).firstElementChild);
    known.classList.add("gone");
    known.dataset.gone = String(performance.now());
  }
  settle();
}

// Puts in what waits and takes out what has gone, unless somebody is busy here.
function settle() {
  if (!busy()) {
    for (const fresh of waiting.values()) {
      place(fresh);
      flash(fresh, "fresh");
    }
    waiting.clear();
    for (const gone of body.querySelectorAll(".gone")) {
      if (performance.now() - Number(gone.dataset.gone) > LINGER) gone.remove();
    }
    trim();
  }
  newer.hidden = waiting.size === 0;
  if (waiting.size) newer.firstElementChild.textContent = waiting.size === 1 ? "1 new alert" : `${waiting.size} new alerts`;
  document.getElementById("empty")?.toggleAttribute("hidden", Boolean(body.querySelector("tr.alert")));
}

// Newest first, as the server sorts: by first_seen, then id.
function precedes(a, b) {
  return a.dataset.first > b.dataset.first || (a.dataset.first === b.dataset.first && a.dataset.id < b.dataset.id);
}

function place(fresh) {
  let before = body.firstElementChild;
  while (before && (before === fresh || precedes(before, fresh))) before = before.nextElementSibling;
  body.insertBefore(fresh, before);
  fresh.dispatchEvent(new CustomEvent("postern:changed", { bubbles: true }));
}

function trim() {
  if (body.children.length <= MAX_ROWS) return;
  while (body.children.length > MAX_ROWS) body.lastElementChild.remove();
  const older = document.getElementById("older");
  if (older) older.href = location.href;
}

function flash(tr, name) {
  tr.classList.remove(name);
  requestAnimationFrame(() => tr.classList.add(name));
  setTimeout(() => tr.classList.remove(name), 2500);
}

/** Shows the rows that wait, from the top. */
export function showNewer() {
  document.activeElement?.blur();
  pointerAt = 0;
  scroller.scrollTop = 0;
  scrollTo(0, 0);
  settle();
}

function firstInView(links) {
  const top = scroller.querySelector("thead").getBoundingClientRect().bottom;
  return links.findIndex((link) => link.getBoundingClientRect().top >= top);
}

/** Moves to the row that is `step` away; the first step enters the list at the first row in view. */
export function move(step) {
  const links = [...body.querySelectorAll(".summary a")];
  const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  const to = at < 0 ? firstInView(links) : Math.min(Math.max(at + step, 0), links.length - 1);
  const link = links[to];
  if (!link) return;
  link.focus({ preventScroll: true });
  link.closest("tr").scrollIntoView({ block: "nearest" });
}

function current() {
  return document.activeElement?.closest?.("tr.alert");
}

/** Selects or unselects the row in focus. */
export function pick() {
  const box = current()?.querySelector(".pick input");
  if (!box) return;
  box.checked = !box.checked;
  selected();
}

/** Acknowledges the selected rows, or else the row in focus. */
export async function acknowledge() {
  const chosen = body.querySelectorAll(".pick input:checked");
  const form = document.getElementById("act");
  if (!form) return toast("warn", "Your role may read alerts, not act on them.");
  if (chosen.length) return form.requestSubmit(document.getElementById("acknowledge-selected"));
  const tr = current();
  if (!tr) return toast("warn", "Choose an alert first: j and k move.");
  const button = tr.querySelector(".ack button");
  if (button) await send(form, button, "text/plain");
}

function selected() {
  const count = body.querySelectorAll(".pick input:checked").length;
  const bar = document.getElementById("act");
  if (!bar) return;
  bar.hidden = count === 0;
  document.getElementById("bulk-count").textContent = `${count} selected`;
}

/** Unselects every row. */
export function unselect() {
  for (const box of body.querySelectorAll(".pick input:checked")) box.checked = false;
  selected();
  settle();
}
