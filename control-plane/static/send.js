// Sends a form without leaving the page. The server changes the data; the live link brings the change back.

import { toast } from "./toast.js";

/** Posts `form` as `button` would; returns the answer, or null after a failure that the person has been told of. */
export async function send(form, button, accept) {
  const address = button?.getAttribute("formaction") ?? form.getAttribute("action");
  const body = new URLSearchParams(new FormData(form, button?.type === "submit" ? button : undefined));
  try {
    const answer = await fetch(address, { method: "POST", body, headers: { accept } });
    if (answer.ok || answer.status === 422 || answer.status === 409) return answer;
    if (answer.status === 401) toast("bad", "You were signed out.", { text: "Sign in again", href: "/sign-in" });
    else toast("bad", (await answer.text()).slice(0, 200) || `The server answered ${answer.status}.`);
  } catch {
    toast("bad", "The server cannot be reached. Nothing was changed.");
  }
  return null;
}

/** Forms and buttons marked data-quiet act in place. */
export function start() {
  document.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (event.defaultPrevented || !(button?.dataset.quiet !== undefined || event.target.dataset.quiet !== undefined)) return;
    event.preventDefault();
    button?.setAttribute("aria-busy", "true");
    const answer = await send(event.target, button, "text/plain");
    button?.removeAttribute("aria-busy");
    if (!answer) return;
    if (!answer.ok) toast("bad", (await answer.text()).slice(0, 200));
    else event.target.dispatchEvent(new CustomEvent("postern:done", { bubbles: true, detail: { button } }));
  });
  document.addEventListener("postern:done", (event) => {
    for (const field of event.target.querySelectorAll("textarea[data-clear]")) field.value = "";
  });
}
