// The configuration editor: line numbers that follow the text, jumps to problems, saving without losing one's place.

import { morph, parsePage } from "./html.js";
import { connect } from "./live.js";
import { send } from "./send.js";
import { toast } from "./toast.js";

const form = document.getElementById("configuration");
const text = document.getElementById("document");
const gutter = document.getElementById("gutter");
const editor = document.getElementById("editor");
let saved = text?.value;

export function start() {
  connect(form.dataset.events, {});
  text.addEventListener("input", number);
  document.addEventListener("postern:changed", () => mark());
  document.addEventListener("click", ({ target }) => {
    const problem = target.closest?.("[data-line]");
    if (problem) jump(Number(problem.dataset.line), Number(problem.dataset.column));
  });
  form.addEventListener("submit", submit);
  addEventListener("beforeunload", (event) => text.value !== saved && event.preventDefault());
}

// One number a line.
function number() {
  const lines = text.value.split("\n").length;
  text.rows = lines + 1;
  if (gutter.dataset.lines !== String(lines)) mark(lines);
}

// Marks the lines of the problems that are listed: those of the last check, and the gateway's as long as the text is what it got.
function mark(lines = Number(gutter.dataset.lines)) {
  const listed = text.value === saved ? "#found [data-line], #revision-panel [data-line]" : "#found [data-line]";
  const marked = new Set([...document.querySelectorAll(listed)].map((problem) => problem.dataset.line));
  gutter.dataset.lines = String(lines);
  const parts = [];
  let plain = "";
  for (let line = 1; line <= lines; line += 1) {
    if (marked.has(String(line))) {
      const mark = document.createElement("mark");
      mark.textContent = String(line);
      parts.push(plain, mark);
      plain = "\n";
    } else plain += `${line}\n`;
  }
  gutter.replaceChildren(...parts, plain);
}

function jump(line, column) {
  const lines = text.value.split("\n");
  const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  // Columns count bytes; the text counts UTF-16 units.
  const bytes = new TextEncoder().encode(lines[line - 1] ?? "").subarray(0, Math.max(column - 1, 0));
  const start = before + new TextDecoder().decode(bytes).length;
  text.focus({ preventScroll: true });
  text.setSelectionRange(start, before + (lines[line - 1] ?? "").length);
  const height = parseFloat(getComputedStyle(text).lineHeight);
  editor.scrollTo({ top: Math.max((line - 1) * height - editor.clientHeight / 3, 0), left: 0 });
}

async function submit(event) {
  event.preventDefault();
  const button = event.submitter;
  if (form.ariaBusy === "true") return;
  const sent = text.value;
  form.ariaBusy = "true";
  const answer = await send(form, button, "text/html");
  form.ariaBusy = null;
  if (!answer) return;
  const page = parsePage(await answer.text());
  for (const id of ["found", "revision-panel", "revisions", "base"]) {
    const old = document.getElementById(id);
    const fresh = page.getElementById(id);
    if (old && fresh) morph(old, document.adoptNode(fresh));
  }
  if (answer.ok && button.value !== "check") {
    saved = sent;
    document.getElementById("force").checked = false;
    history.replaceState(null, "", form.getAttribute("action"));
  }
  form.dispatchEvent(new CustomEvent("postern:changed", { bubbles: true }));
  const first = document.querySelector("#found [data-line]");
  if (first) jump(Number(first.dataset.line), Number(first.dataset.column));
  else if (button.value === "check") toast("good", "The document is valid. It was not saved.");
}
