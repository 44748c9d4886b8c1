// Uploads an archive of MIB modules with its progress. The body is the file itself; the name and the token go in headers.

import { toast } from "./toast.js";

const form = document.getElementById("upload");
const box = document.getElementById("progress");
const bar = document.getElementById("bar");
const step = document.getElementById("step");

export function start() {
  form?.addEventListener("submit", submit);
}

function submit(event) {
  event.preventDefault();
  const file = document.getElementById("file").files[0];
  if (!file || form.ariaBusy === "true") return;
  if (file.size > Number(form.dataset.max) * 1024 * 1024) {
    toast("bad", `The file is larger than ${form.dataset.max} MiB: split it.`);
    return;
  }
  show(true);
  // fetch cannot tell how far an upload got.
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = (100 * loaded) / total;
    step.textContent = `${Math.round((100 * loaded) / total)} % sent`;
  });
  request.upload.addEventListener("load", () => {
    bar.removeAttribute("value");
    step.textContent = "Compiling; this can take a minute…";
  });
  request.addEventListener("load", () => {
    if (request.status === 200) {
      location.assign("/mibs");
      return;
    }
    show(false);
    toast("bad", request.status === 401 ? "You were signed out." : request.responseText.slice(0, 300) || `The server answered ${request.status}.`);
  });
  request.addEventListener("error", () => {
    show(false);
    toast("bad", "The server cannot be reached. Nothing was changed.");
  });
  request.open("POST", form.getAttribute("action"));
  request.setRequestHeader("accept", "text/plain");
  request.setRequestHeader("content-type", "application/octet-stream");
  request.setRequestHeader("x-csrf-token", form.dataset.csrf);
  request.setRequestHeader("x-file-name", encodeURIComponent(file.name));
  request.send(file);
}

function show(busy) {
  form.ariaBusy = busy ? "true" : null;
  form.querySelector("button").disabled = busy;
  box.hidden = !busy;
}
