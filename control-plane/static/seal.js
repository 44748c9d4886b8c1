// Seals a secret to the gateway's key, here in the browser: the server gets only what it cannot open (protocol/src/secret.rs).
// The field for the secret has no name, so no form ever sends it; it is emptied before anything else happens.

import { send } from "./send.js";
import { toast } from "./toast.js";

const FORMAT = 1;
const MAX_BYTES = 1024;
const SHORTEST_PASSPHRASE = 8;

const form = document.getElementById("seal");
const secret = document.getElementById("secret");
const compared = document.getElementById("compared");
const utf8 = new TextEncoder();

export function start() {
  if (!form) return;
  form.addEventListener("submit", submit);
  secret.addEventListener("input", () => {
    const length = [...secret.value].length;
    document.getElementById("short").hidden = length === 0 || length >= SHORTEST_PASSPHRASE;
  });
  document.addEventListener("postern:changed", remembered);
  addEventListener("pagehide", () => (secret.value = ""));
  remembered();
}

// The list is replaced by the live link: its facts are read when they are needed.
const facts = () => document.getElementById("secrets").dataset;
const place = () => `postern-sealed-to:${facts().tenant}/${facts().gateway}`;

// Whoever has compared this key once need not again; whoever finds another one is told.
function remembered() {
  let known = null;
  try {
    known = localStorage.getItem(place());
  } catch {
    // Storage is forbidden: it is compared each time.
  }
  const same = known !== null && known === facts().sha256;
  document.getElementById("changed").hidden = known === null || same;
  if (same) compared.checked = true;
  else if (compared.dataset.of !== facts().sha256) compared.checked = false;
  compared.dataset.of = facts().sha256 ?? "";
}

async function submit(event) {
  event.preventDefault();
  if (form.ariaBusy === "true") return;
  const content = utf8.encode(secret.value);
  secret.value = "";
  document.getElementById("short").hidden = true;
  form.ariaBusy = "true";
  try {
    await sealAndSend(content);
  } catch {
    toast("bad", "This browser cannot seal to the gateway's key. Nothing was sent.");
  } finally {
    content.fill(0);
    for (const name of ["version", "sealed", "sealed_to"]) form.elements[name].value = "";
    form.ariaBusy = null;
  }
}

async function sealAndSend(content) {
  const { tenant, gateway, versions, spki } = facts();
  if (!globalThis.crypto?.subtle) return toast("bad", "This browser seals on https only. Nothing was sent.");
  if (!spki) return toast("bad", "The gateway has not told its key yet. Nothing was sent.");
  if (content.length < 1 || content.length > MAX_BYTES) return toast("bad", `A secret has 1 to ${MAX_BYTES} bytes. Nothing was sent.`);
  const name = form.elements.name.value;
  const version = (new Map(Object.entries(JSON.parse(versions))).get(name) ?? 0) + 1;
  const key = fromBase64(spki);
  const sealedTo = toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", key)));
  if (sealedTo !== facts().sha256) return toast("bad", "The key is not the one whose fingerprint is shown. Nothing was sent.");
  const sealed = await seal(key, `postern-secret-v1|${tenant}|${gateway}|${name}|${version}`, content);
  form.elements.version.value = String(version);
  form.elements.sealed.value = toBase64(sealed);
  form.elements.sealed_to.value = sealedTo;
  const answer = await send(form, null, "text/plain");
  if (!answer) return;
  if (!answer.ok) return toast("bad", (await answer.text()).slice(0, 200));
  try {
    localStorage.setItem(place(), sealedTo);
  } catch {
    // Storage is forbidden: it is compared each time.
  }
  form.elements.name.value = "";
  toast("good", `Version ${version} of ${name} is sealed and stored.`);
}

/** Seals `content` to the RSA key `spki` (DER) with `context` as label and as additional data. */
export async function seal(spki, context, content) {
  const label = utf8.encode(context);
  const subtle = crypto.subtle;
  const publicKey = await subtle.importKey("spki", spki, { name: "RSA-OAEP", hash: "SHA-256" }, false, ["encrypt"]);
  const raw = crypto.getRandomValues(new Uint8Array(32));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const contentKey = await subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt"]);
  const wrapped = new Uint8Array(await subtle.encrypt({ name: "RSA-OAEP", label }, publicKey, raw));
  raw.fill(0);
  const sealed = new Uint8Array(await subtle.encrypt({ name: "AES-GCM", iv, additionalData: label, tagLength: 128 }, contentKey, content));
  return new Uint8Array([FORMAT, wrapped.length >> 8, wrapped.length & 0xff, ...wrapped, ...iv, ...sealed]);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function toHex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
