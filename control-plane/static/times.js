// Keeps relative times true: "3 min ago", with the exact local and UTC times in the title.

const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** The same words as `console::moment` on the server. */
export function relative(then, now) {
  const seconds = Math.floor((now - then) / 1000);
  if (seconds < -5) return `in ${span(-seconds)}`;
  return seconds < 5 ? "now" : `${span(seconds)} ago`;
}

function refresh(root) {
  const now = Date.now();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const then = Date.parse(time.dateTime);
    if (Number.isNaN(then)) continue;
    if (time.dataset.local === undefined) {
      time.dataset.local = "";
      time.title = `${zone.format(then)} here\n${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
    }
    if (time.dataset.relative === undefined) continue;
    const text = relative(then, now);
    if (time.textContent !== text) time.textContent = text;
  }
}

export function start() {
  refresh(document);
  setInterval(() => document.hidden || refresh(document), 1000);
  document.addEventListener("visibilitychange", () => document.hidden || refresh(document));
  document.addEventListener("postern:changed", (event) => refresh(event.target));
}
