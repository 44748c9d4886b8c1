// The live link: server-sent events from /events, reconnecting for as long as the page is open.
// Every page says in data-events what it wants to hear; the server renders, this file only passes on.

import { morph, parse } from "./html.js";
import { toast } from "./toast.js";

const indicator = document.getElementById("live");
let retry = 1000;
let since = null;

function show(state, text) {
  if (!indicator) return;
  indicator.hidden = false;
  indicator.dataset.live = state;
  indicator.firstElementChild.textContent = text;
}

/** Opens the stream at `url` and hands the data of each event to the handler of its name. */
export function connect(url, handlers) {
  // EventSource repeats Last-Event-ID only within one object; a new object says the same in the query.
  const address = new URL(url, location.href);
  if (since) address.searchParams.set("since", since);
  const source = new EventSource(address);
  source.addEventListener("open", () => {
    retry = 1000;
    show("up", "Live");
  });
  source.addEventListener("error", () => {
    show("down", "Reconnecting…");
    if (source.readyState === EventSource.CLOSED) again(url, handlers);
  });
  const all = { part: replacePart, reload: () => location.reload(), ...handlers };
  for (const [name, handle] of Object.entries(all)) {
    source.addEventListener(name, (event) => {
      if (event.lastEventId) since = event.lastEventId;
      handle(JSON.parse(event.data));
    });
  }
  addEventListener("pagehide", () => source.close(), { once: true });
  return source;
}

// The server answered with something else than a stream: signed out, or a restart behind a proxy.
async function again(url, handlers) {
  try {
    const answer = await fetch("/session", { headers: { accept: "application/json" }, cache: "no-store" });
    if (answer.status === 401) {
      show("down", "Signed out");
      toast("bad", "You were signed out.", { text: "Sign in again", href: `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}` });
      return;
    }
  } catch {
    // Not reachable: try on.
  }
  setTimeout(() => connect(url, handlers), retry * (0.75 + Math.random() / 2));
  retry = Math.min(retry * 2, 15000);
}

/** Brings one part of the page up to date, in place. */
export function replacePart({ id, html }) {
  const old = document.getElementById(id);
  const fresh = parse(html).firstElementChild;
  if (!old || !fresh) return;
  const now = morph(old, fresh);
  now.dispatchEvent(new CustomEvent("postern:changed", { bubbles: true }));
}
