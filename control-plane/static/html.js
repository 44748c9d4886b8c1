// The one place where HTML from the server enters the document. The server escapes it; Trusted Types forbid any other way in.

const policy = globalThis.trustedTypes?.createPolicy("postern", { createHTML: (html) => html });

/** Parses a fragment; rows keep their <tr>, which only a template element allows. */
export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return template.content;
}

/** Parses a whole page, for the parts of an answer to a form. */
export function parsePage(html) {
  return new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");
}

/**
 * Makes `old` look like `fresh` with as few changes as can be: focus, selection, scroll positions, what a person has typed and
 * opened all stay. Children that have an id are matched by it, others by their place.
 */
export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (fresh.id ?? "") !== (old.id ?? "")) {
    old.replaceWith(fresh);
    return fresh;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return old;
  }
  if (old.hasAttribute("data-keep")) return old;
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of old.getAttributeNames()) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  if (old.nodeName !== "TEXTAREA") morphChildren(old, fresh);
  return old;
}

function morphChildren(old, fresh) {
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? [...old.childNodes].find((node) => node.id === child.id) : undefined;
    if (same && same !== at) old.insertBefore(same, at);
    if (same) {
      at = morph(same, child).nextSibling;
    } else if (at && !at.id && !child.id) {
      at = morph(at, child).nextSibling;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
