// Keys for everything that is done often. None works while a person types.

const typing = (target) => target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");

/** Binds `keys`, a map from key (or "g x" for two in a row) to an action. */
export function bind(keys) {
  let before = "";
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && typing(event.target)) return event.target.blur();
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    const action = (before && keys[`${before} ${event.key}`]) || keys[event.key];
    before = event.key === "g" ? "g" : "";
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

/** Actions that every page has. */
export const everywhere = {
  "?": () => document.getElementById("keys")?.showModal(),
  "g a": () => location.assign("/alerts"),
  "g g": () => location.assign("/gateways"),
  "g m": () => location.assign("/mibs"),
  t: () => document.getElementById("theme")?.click(),
};
