// The alert list: rows arrive, change and leave while a person works in it. Nothing moves under a hand or an eye that is busy:
// then new rows wait behind a button and rows that no longer belong stay, dimmed.

import { morph, parse, parsePage } from "./html.js";
import { connect } from "./live.js";
import { send } from "./send.js";
import { toast } from "./toast.js";

const MAX_ROWS = 200;
const POINTER_REST = 1000;
const LINGER = 1500;
const PACE = 400;
const MOST_FLASHES = 20;
const FEW_ROWS = 40;
const MOST_CHILDREN = 25;
const REFILL_PACE = 2000;

const body = document.getElementById("rows");
const scroller = document.getElementById("scroller");
const newer = document.getElementById("newer");
const announced = document.getElementById("announced");
const waiting = new Map();
let pointerAt = -Infinity;
let settling = false;
let settled = 0;
let leftOut = false;
let refilledAt = 0;
let goneMeanwhile = null;
let enough = body.children.length > 0;

export function start() {
  connect(scroller.dataset.events, { row, remove, renew: renewed, folded });
  body.addEventListener("click", unfold);
  body.addEventListener("pointermove", () => (pointerAt = performance.now()));
  body.addEventListener("pointerleave", () => ((pointerAt = -Infinity), settle()));
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

function row({ id, revision, first, html }) {
  const known = document.getElementById(`a-${id}`);
  if (!known) {
    // On a later page it is not at its place; nor is it new where it belongs behind the last row that is shown.
    const last = tops().at(-1);
    const behind = hasMore() && last && precedes(last.dataset, { first, id });
    if (scroller.dataset.page === "first" && !behind) waiting.set(id, { id, first, html });
  } else if (Number(known.dataset.revision) < revision) {
    const again = known.dataset.first !== first;
    renew(known, html);
    flash([known], "changed");
    if (again && !busy()) place([known]);
  }
  settleSoon();
}

function remove({ id, revision, html }) {
  waiting.delete(id);
  goneMeanwhile?.set(id, revision);
  const known = document.getElementById(`a-${id}`);
  if (known && Number(known.dataset.revision) < revision) {
    renew(known, html);
    known.classList.add("gone");
    known.dataset.gone = String(performance.now());
  }
  settleSoon();
}

// A row whose count of folded alerts is another one.
function renewed({ id, html }) {
  const known = document.getElementById(`a-${id}`);
  if (known) renew(known, html);
}

// An alert that another one folds: it leaves the list, and stays under its parent if that is opened.
function folded({ id, revision, parent }) {
  waiting.delete(id);
  const known = document.getElementById(`a-${id}`);
  const within = known?.closest("tr.children");
  if (known && !within && Number(known.dataset.revision) < revision) {
    known.dataset.revision = revision;
    known.classList.add("gone");
    known.dataset.gone = String(performance.now());
  }
  const open = document.getElementById(`c-${parent}`);
  if (open && !open.dataset.stale) {
    open.dataset.stale = "yes";
    setTimeout(() => open.isConnected && fill(open), REFILL_PACE);
  }
  settleSoon();
}

function renew(known, html) {
  const picked = known.querySelector(".pick input")?.checked;
  morph(known, parse(html).firstElementChild);
  const box = known.querySelector(".pick input");
  if (box && picked) box.checked = true;
  if (document.getElementById(`c-${known.dataset.id}`)) known.querySelector(".fold")?.setAttribute("aria-expanded", "true");
  known.dispatchEvent(new CustomEvent("postern:changed", { bubbles: true }));
}

// Opens or shuts what a row folds, in place. Without this the link leads to a list of its own.
async function unfold(event) {
  const link = event.target.closest("a.fold");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const open = document.getElementById(`c-${link.dataset.of}`);
  if (open) {
    open.remove();
    return link.setAttribute("aria-expanded", "false");
  }
  const holder = document.createElement("tr");
  holder.className = "children";
  holder.id = `c-${link.dataset.of}`;
  holder.dataset.href = link.href;
  const cell = holder.appendChild(document.createElement("td"));
  // Those that the window has room for: a cell that spans more would add columns.
  cell.colSpan = [...scroller.querySelectorAll("thead th")].filter((th) => th.offsetWidth > 0).length;
  if (!(await fill(holder))) return;
  link.closest("tr").after(holder);
  link.setAttribute("aria-expanded", "true");
}

// Asks for the folded alerts' own list and takes its first rows.
async function fill(holder) {
  delete holder.dataset.stale;
  try {
    const answer = await fetch(holder.dataset.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return false;
    const page = parsePage(await answer.text());
    const table = document.adoptNode(page.querySelector("table.alerts"));
    table.querySelector("thead").remove();
    const rows = table.querySelector("tbody");
    rows.removeAttribute("id");
    const more = rows.children.length > MOST_CHILDREN || Boolean(page.getElementById("older"));
    while (rows.children.length > MOST_CHILDREN) rows.lastElementChild.remove();
    holder.firstElementChild.replaceChildren(table);
    if (more) {
      const all = holder.firstElementChild.appendChild(document.createElement("a"));
      all.className = "all";
      all.href = holder.dataset.href;
      all.textContent = "Show all that are folded here";
    }
    holder.dispatchEvent(new CustomEvent("postern:changed", { bubbles: true }));
    return true;
  } catch {
    toast("bad", "The folded alerts could not be read.");
    return false;
  }
}

// The rows of the list itself.
function tops() {
  return [...body.children].filter((tr) => tr.matches("tr.alert"));
}

function drop(tr) {
  document.getElementById(`c-${tr.dataset.id}`)?.remove();
  tr.remove();
}

// The first at once, then a few times a second however many events come: a storm costs the browser no more than its newest rows.
function settleSoon() {
  if (settling) return;
  settling = true;
  setTimeout(
    () => {
      settling = false;
      settled = performance.now();
      settle();
    },
    Math.max(settled + PACE - performance.now(), 0),
  );
}

// Puts in what waits and takes out what has gone, unless somebody is busy here.
function settle() {
  if (!busy()) {
    if (waiting.size) enter();
    for (const gone of body.querySelectorAll(".gone")) {
      if (performance.now() - Number(gone.dataset.gone) > LINGER) drop(gone);
    }
    trim();
  }
  newer.hidden = waiting.size === 0;
  if (waiting.size) newer.firstElementChild.textContent = waiting.size === 1 ? "1 new alert" : `${waiting.size} new alerts`;
  const rows = tops().length;
  const more = hasMore();
  document.getElementById("empty").hidden = rows > 0 || more || waiting.size > 0;
  if (more ? rows >= FEW_ROWS : rows > 0) enough = true;
  else if (enough) refill();
}

// For those who hear the list.
function announce(rows) {
  const words = rows.map((tr) => `${tr.dataset.severity}: ${tr.querySelector(".title").textContent}`);
  announced.textContent = words.join(". ");
}

function hasMore() {
  return leftOut || Boolean(document.getElementById("older"));
}

// Few rows are left and there are others behind them: asks for the page again and adds those that are not here.
async function refill() {
  if (goneMeanwhile || performance.now() - refilledAt < REFILL_PACE) return;
  refilledAt = performance.now();
  goneMeanwhile = new Map();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const page = parsePage(await answer.text());
    const missing = [...page.querySelectorAll("tr.alert")].filter(
      ({ id, dataset }) => !document.getElementById(id) && !(goneMeanwhile.get(dataset.id) >= Number(dataset.revision)),
    );
    for (const { dataset } of missing) waiting.delete(dataset.id);
    place(missing.map((tr) => document.adoptNode(tr)));
    for (const id of ["pager", "empty"]) morph(document.getElementById(id), document.adoptNode(page.getElementById(id)));
    leftOut = false;
    enough = false;
    document.getElementById("empty").hidden = body.children.length > 0;
    body.dispatchEvent(new CustomEvent("postern:changed", { bubbles: true }));
  } catch {
    // Not reachable: the live link says so, and the next change tries again.
  } finally {
    goneMeanwhile = null;
  }
}

function enter() {
  const newest = [...waiting.values()].sort((a, b) => (precedes(a, b) ? -1 : 1)).slice(0, MAX_ROWS);
  const rows = newest.map(({ html }) => parse(html).firstElementChild);
  if (waiting.size > newest.length) olderByReload();
  waiting.clear();
  place(rows);
  if (rows.length <= MOST_FLASHES) {
    flash(rows, "fresh");
    announce(rows);
  } else announced.textContent = `${rows.length} new alerts`;
  body.dispatchEvent(new CustomEvent("postern:changed", { bubbles: true }));
}

// Newest first, as the server sorts: by first_seen, then id.
function precedes(a, b) {
  return a.first > b.first || (a.first === b.first && a.id < b.id);
}

// Puts rows, newest first, where they belong.
function place(rows) {
  let before = body.firstElementChild;
  for (const fresh of rows) {
    while (before && (before === fresh || before.matches("tr.children") || precedes(before.dataset, fresh.dataset))) before = before.nextElementSibling;
    body.insertBefore(fresh, before);
    const open = document.getElementById(`c-${fresh.dataset.id}`);
    if (open) fresh.after(open);
  }
}

function trim() {
  const rows = tops();
  if (rows.length <= MAX_ROWS) return;
  rows.slice(MAX_ROWS).forEach(drop);
  olderByReload();
}

// The link to older alerts goes on after the last row of the page as it came: rows that were left out since are not behind it.
function olderByReload() {
  leftOut = true;
  const older = document.getElementById("older");
  if (older) older.href = location.href;
}

function flash(rows, name) {
  for (const tr of rows) tr.classList.remove(name);
  requestAnimationFrame(() => rows.forEach((tr) => tr.classList.add(name)));
  setTimeout(() => rows.forEach((tr) => tr.classList.remove(name)), 2500);
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
  const links = [...body.querySelectorAll(".title")];
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
