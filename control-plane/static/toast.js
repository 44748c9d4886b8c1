// Short messages in the corner; polite to screen readers, gone after a while unless they ask for something.

const LIFE = 6000;

export function toast(kind, text, link) {
  const corner = document.getElementById("toasts");
  if (!corner) return;
  const box = document.createElement("div");
  box.className = `notice ${kind}`;
  const words = document.createElement("span");
  words.textContent = text;
  box.append(words);
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link.href;
    anchor.textContent = link.text;
    box.append(anchor);
  } else {
    setTimeout(() => box.remove(), LIFE);
  }
  corner.replaceChildren(box);
}
