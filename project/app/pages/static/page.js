// Enhances the pages, which also work without scripts: multiple uploads, live results, endless lists, undo.
"use strict";

document.body.classList.add("scripts");
const root = document.body.dataset.root;
// Other origins' scripts may not send this header: it tells the service that a request is its own page's.
const OWN = { "X-Requested-With": "XMLHttpRequest" };
const IMAGES = /\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif)$/i;
const AT_ONCE = 3, POLL_MS = 1000, UNDO_MS = 6000, IN_FLIGHT_S = 2, RECONNECT_S = 1, LIVE_MS = 10_000, MAX_FOUND = 10, AT_ONCE_CHANGED = 500, MAX_EXPORTED = 200, OPEN = new Set(["pending", "processing"]);

// Texts in the language of the page; without a translation, in English. Values replace %(names)s.
const TEXTS = JSON.parse(document.getElementById("texts")?.textContent ?? "{}");
function _(text, values = {}) {
  return (TEXTS[text] ?? text).replace(/%\((\w+)\)s/g, (_match, name) => values[name]);
}

const words = label => label.replaceAll("_", " ");
const percent = value => value >= 0.1 ? `${Math.round(100 * value)} %` : `${(100 * value).toFixed(1)} %`;

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

function bars(scores) {
  return element("ol", { className: "bars" }, ...scores.map(({ label, confidence }) => {
    const meter = element("meter", { min: 0, max: 1, value: confidence, textContent: percent(confidence) });
    meter.setAttribute("aria-label", words(label));
    return element("li", {},
      element("span", { className: "label", textContent: words(label) }), meter,
      element("span", { className: "number", textContent: percent(confidence) }));
  }));
}

function result(prediction) {
  if (prediction.status === "succeeded") {
    return element("p", { className: "answer" }, element("strong", { textContent: words(prediction.top_prediction) }), " ",
      element("span", { className: "number", textContent: percent(prediction.confidence) }));
  }
  if (prediction.status === "failed") {
    return element("p", { className: "answer failed" }, element("strong", { textContent: _("Failed") }), ` ${_(prediction.error?.message ?? "")}`);
  }
  const text = prediction.status === "processing" ? _("Classifying…") : _("Queued");
  return element("p", { className: "answer busy", textContent: text });
}

function toast(text, label, action) {
  const shown = element("div", { className: "toast" }, text);
  if (label) shown.append(element("button", { type: "button", textContent: label, onclick: () => { shown.remove(); action(); } }));
  document.getElementById("toasts").append(shown);
  return shown;
}

// --- Everywhere: local times, theme, shortcuts, and a service that is away. ---

const LANGUAGE = document.documentElement.lang;
function showLocalTimes(within) {
  for (const shown of within.querySelectorAll("time[datetime]:not([title])")) {
    const utc = shown.textContent;
    shown.textContent = new Date(shown.dateTime).toLocaleString(LANGUAGE, { dateStyle: "medium", timeStyle: "medium" });
    shown.title = utc;
  }
}
function showLocalAxes(within) {
  for (const shown of within.querySelectorAll("text[data-time]")) {
    const format = shown.dataset.short === "day" ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
    shown.textContent = new Date(shown.dataset.time).toLocaleString(LANGUAGE, format);
  }
  for (const bar of within.querySelectorAll("rect[data-time]")) {
    const time = new Date(bar.dataset.time).toLocaleString(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });
    bar.querySelector("title").textContent = `${time}: ${bar.dataset.value || "–"}`;
  }
}
showLocalTimes(document);
showLocalAxes(document);

document.getElementById("theme").addEventListener("click", event => {
  const { next } = event.currentTarget.dataset, age = next ? 31_536_000 : 0;
  document.cookie = `theme=${next}; path=${root || "/"}; max-age=${age}; samesite=lax`;
  location.reload();
});

// Resolves once the service answers. A banner says so meanwhile.
let reaching = null;
function whenReachable() {
  const banner = document.getElementById("offline");
  reaching ??= (async () => {
    banner.hidden = false;
    for (;;) {
      const response = await fetch(`${root}/ping`, { cache: "no-store" }).catch(() => null);
      if (response?.ok) break;
      await pause(RECONNECT_S);
    }
    banner.hidden = true;
    reaching = null;
  })();
  return reaching;
}
const pause = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds));
addEventListener("offline", () => whenReachable());

const shortcuts = document.getElementById("shortcuts");
document.getElementById("shortcuts-open")?.addEventListener("click", () => shortcuts.showModal());
let isGoing = false;   // after G
document.addEventListener("keydown", event => {
  if (!shortcuts || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog, [contenteditable]")) return;
  const key = event.key.toLowerCase(), target = isGoing ? { h: "/history", r: "/review" }[key] : { u: "/" }[key];
  isGoing = key === "g" && !document.getElementById("reviews");
  const search = document.querySelector("[data-shortcut='/']");
  if (target) location = root + target;
  else if (key === "?") shortcuts.showModal();
  else if (key === "/") search ? search.focus() : location = `${root}/history#search`;
  else if (key === "arrowleft" || key === "arrowright") document.getElementById(key === "arrowleft" ? "newer" : "older")?.click();
  else if (key === "delete") document.querySelector("[data-delete]")?.requestSubmit();
  else return;
  event.preventDefault();
});
if (location.hash === "#search") document.querySelector("[data-shortcut='/']")?.focus();

// --- Live results: events of all predictions; without a connection, polls the unfinished predictions shown. ---

const followed = new Map();   // id → function(prediction)

async function refresh(id) {
  const response = await fetch(`${root}/predictions/${id}/`, { headers: { Accept: "application/json" } });
  if (response.ok) followed.get(id)?.(await response.json());
  else if (response.status === 404) forget(id);
}

function follow(id, changed) {
  followed.set(id, prediction => {
    if (!OPEN.has(prediction.status)) forget(id);
    changed(prediction);
  });
  listen();
  // It may have finished before the connection was open.
  if (source?.readyState === 1) refresh(id).catch(() => {});
}

function forget(id) {
  followed.delete(id);
  if (!followed.size) stop();
}

let source = null, polling = null;

function refreshAll() { for (const id of [...followed.keys()]) refresh(id).catch(() => {}); }

// Browsers limit the connections of all tabs together, so close it when there is nothing to wait for.
function stop() { stopPolling(); source?.close(); source = null; }
function stopPolling() { clearInterval(polling); polling = null; }

function listen() {
  const poll = () => { polling ??= setInterval(refreshAll, POLL_MS); };
  if (source || !followed.size) return;
  if (!window.EventSource) { poll(); return; }
  const opened = source = new EventSource(`${root}/events`);
  opened.addEventListener("prediction", event => {
    const { id } = JSON.parse(event.data);
    if (followed.has(id)) refresh(id).catch(() => {});
  });
  opened.addEventListener("missed", refreshAll);
  opened.onopen = () => { stopPolling(); refreshAll(); };
  opened.onerror = () => {
    if (source !== opened) return;
    poll();
    // After some errors browsers do not reconnect.
    if (opened.readyState === 2) source = null;
  };
}

function followCards(within) {
  for (const card of within.querySelectorAll(".card")) {
    if (OPEN.has(card.dataset.status)) {
      follow(Number(card.dataset.id), prediction => {
        card.dataset.status = prediction.status;
        card.querySelector(".state").replaceChildren(result(prediction));
      });
    }
  }
}
followCards(document);

const detail = document.querySelector(".one");
if (detail && OPEN.has(detail.dataset.status)) {
  follow(Number(detail.dataset.id), prediction => {
    if (OPEN.has(prediction.status)) return;
    // Do not interrupt someone typing a correction.
    if (document.querySelector("details[open]")) toast(_("The result is available."), _("Show"), () => location.reload());
    else location.reload();
  });
}

// A heat map lies over the image, as strong as one likes.
const heatMap = document.querySelector("img[data-overlay]");
if (heatMap) {
  const overlay = element("img", { src: heatMap.dataset.overlay, alt: "", className: "overlay" });
  const strength = element("input", { type: "range", min: 0, max: 100, value: 65 });
  const show = () => { overlay.style.opacity = strength.value / 100; };
  const name = element("label", { className: "strength" }, _("Strength of the heat map"), " ", strength);
  strength.addEventListener("input", show);
  // Once both are there, so that nothing flickers.
  overlay.addEventListener("load", () => {
    const stack = element("div", { className: "stack-of-images" });
    heatMap.replaceWith(stack);
    stack.append(heatMap, overlay);
    stack.after(name);
    heatMap.src = heatMap.dataset.image;
    show();
  });
}

// A strip of similar images, which may take a moment to find.
const similar = document.querySelector("[data-similar]");
if (similar) {
  fetch(similar.dataset.similar).then(async response => {
    const found = response.ok && new DOMParser().parseFromString(await response.text(), "text/html").getElementById("similar");
    if (!found) { similar.remove(); return; }
    const strip = element("ul", { className: "gallery strip" });
    strip.append(...[...found.children].slice(0, 12));
    similar.append(strip);
  }).catch(() => {});
}

// --- Classify: many images, each with its own progress, error and result. ---

// The images of a folder that was dropped: files with names such as "insects/ant/1.jpg".
async function filesBelow(entry, path = "") {
  if (entry.isFile) return [{ name: path + entry.name, file: await new Promise((done, fail) => entry.file(done, fail)) }];
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const child of some) found.push(...await filesBelow(child, `${path}${entry.name}/`));
  }
}
// Entries have to be taken before anything is awaited.
const entriesOf = transfer => [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);

const upload = document.getElementById("upload");
if (upload) {
  const files = document.getElementById("files"), photo = document.getElementById("photo"), folder = document.getElementById("folder");
  const results = document.getElementById("results"), overview = document.getElementById("batch"), maxBytes = Number(upload.dataset.maxBytes);
  const jobs = [], waiting = [];
  let busy = 0, isPaused = false;
  upload.classList.add("live");
  files.multiple = true;
  files.required = false;
  if (matchMedia("(pointer: coarse)").matches) { photo.hidden = true; document.querySelector(".camera").hidden = false; }

  const key = () => crypto.randomUUID ? crypto.randomUUID() : Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");

  // What is shown for an image: a picture, its name, and its state.
  const addItem = name => {
    const image = element("img", { alt: "", width: 160, height: 120 }), state = element("div"), action = element("div");
    // Browsers cannot display every format that the service accepts.
    image.onerror = () => image.classList.add("none");
    image.onload = () => image.classList.remove("none");
    const item = element("li", { className: "result" }, image, element("div", {}, element("h3", { textContent: name }), state), action);
    results.append(item);
    return { name, item, image, state, action };
  };

  const add = file => {
    const progress = element("progress", { max: 1, value: 0 });
    progress.setAttribute("aria-label", _("Upload of %(name)s", { name: file.name }));
    const job = { ...addItem(file.name), file, progress, key: key(), model: document.getElementById("model").value, isOver: false };
    job.image.src = URL.createObjectURL(file);
    jobs.push(job);
    if (file.size > maxBytes) {
      fail(job, _("This file has %(size)s MiB; the limit is %(limit)s MiB.", { size: (file.size / 2 ** 20).toFixed(1), limit: (maxBytes / 2 ** 20).toFixed(0) }));
      return;
    }
    enqueue(job);
  };

  const enqueue = job => {
    job.isOver = false;
    job.again = false;
    delete job.item.dataset.status;
    job.state.replaceChildren(element("p", { className: "answer busy", textContent: _("Waiting…") }));
    waiting.push(job);
    next();
  };

  const next = () => {
    while (!isPaused && busy < AT_ONCE && waiting.length) { busy += 1; send(waiting.shift()); }
    showOverview();
  };

  // Progress of all uploads; nothing for a single one.
  const pauseButton = element("button", { type: "button", onclick: () => { isPaused = !isPaused; next(); } });
  const retryButton = element("button", { type: "button", onclick: () => jobs.filter(job => job.again).forEach(enqueue), textContent: _("Try all again") });
  const total = element("progress"), count = element("span");
  total.setAttribute("aria-label", _("All uploads"));
  overview.append(count, total, pauseButton, retryButton);
  const showOverview = () => {
    const over = jobs.filter(job => job.isOver).length, failed = jobs.filter(job => job.again).length;
    overview.hidden = jobs.length < 2;
    count.textContent = _("%(done)s of %(all)s", { done: over, all: jobs.length });
    total.max = jobs.length;
    total.value = over;
    total.hidden = pauseButton.hidden = over === jobs.length;
    pauseButton.textContent = isPaused ? _("Resume") : _("Pause");
    retryButton.hidden = failed < 2;
  };
  addEventListener("beforeunload", event => {
    if (waiting.length || busy) event.preventDefault();
  });

  const send = job => {
    const request = new XMLHttpRequest(), form = new FormData();
    form.append("model", job.model);
    form.append("file", job.file, job.file.name);
    request.open("POST", `${root}/predictions/`);
    for (const [name, value] of Object.entries(OWN)) request.setRequestHeader(name, value);
    request.setRequestHeader("Idempotency-Key", job.key);
    request.upload.onprogress = event => { if (event.lengthComputable) job.progress.value = event.loaded / event.total; };
    request.onload = () => { done(); received(job, request); };
    request.onerror = () => { done(); disconnected(job); };
    job.state.replaceChildren(element("p", { className: "answer busy", textContent: _("Uploading…") }), job.progress);
    request.send(form);
  };
  const done = () => { busy -= 1; next(); };

  // The image waits, and is sent again with the same key once the service can be reached.
  const disconnected = job => {
    job.state.replaceChildren(
      element("p", { className: "answer busy", textContent: _("The service cannot be reached. The upload continues by itself.") }),
      element("button", { type: "button", textContent: _("Try again"), onclick: () => retry() }));
    let isRetried = false;
    const retry = () => { if (!isRetried) { isRetried = true; enqueue(job); } };
    whenReachable().then(retry);
  };

  const received = (job, request) => {
    if (request.status === 201) {
      const prediction = JSON.parse(request.responseText);
      URL.revokeObjectURL(job.image.src);
      accepted(job, prediction);
      remember();
      return;
    }
    let seconds = [429, 503].includes(request.status) ? Number(request.getResponseHeader("Retry-After")) : 0;
    // The service may still be processing the first attempt of an upload whose connection was lost.
    if (request.status === 409) seconds = IN_FLIGHT_S;
    if (seconds) {
      job.state.replaceChildren(element("p", { className: "answer busy", textContent: _("The service is busy. Retrying in %(seconds)s s.", { seconds }) }));
      setTimeout(() => { waiting.push(job); next(); }, 1000 * seconds);
      return;
    }
    fail(job, refusal(request), request.status >= 500);
  };

  const accepted = (job, prediction) => {
    const link = `${root}/history/${prediction.id}`, shown = element("a", { href: link });
    job.id = prediction.id;
    job.action.replaceChildren(element("a", { href: link, className: "button", textContent: _("Open") }));
    job.image.replaceWith(shown);
    shown.append(job.image);
    job.image.alt = job.name;
    job.image.src = `${root}/predictions/${prediction.id}/image?size=320`;
    show(job, prediction);
    if (OPEN.has(prediction.status)) follow(prediction.id, changed => show(job, changed));
  };

  const refusal = request => {
    try {
      const { detail, reason } = JSON.parse(request.responseText);
      if (reason) return _(reason);
      const message = typeof detail === "string" ? detail : detail.map(entry => entry.msg).join("; ");
      return message === "File must be an image" ? _("Unsupported file. Use JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF.") : _(message);
    } catch { return _("The service responded with %(status)s.", { status: request.status }); }
  };

  const show = (job, prediction) => {
    job.state.replaceChildren(...(prediction.all_predictions ? [bars(prediction.all_predictions)] : [result(prediction)]));
    job.item.dataset.status = prediction.status;
    job.isOver = !OPEN.has(prediction.status);
    showOverview();
  };

  const fail = (job, text, again = false) => {
    const message = element("p", { className: "answer failed", textContent: text });
    message.setAttribute("role", "alert");
    job.item.dataset.status = "refused";
    job.isOver = true;
    job.again = again;
    job.state.replaceChildren(message);
    if (again) job.state.append(element("button", { type: "button", textContent: _("Try again"), onclick: () => enqueue(job) }));
    showOverview();
  };

  // Results come back when the page is opened again, by Back or a reload.
  const KEPT = "results", MAX_KEPT = 500;
  const remember = () => {
    const kept = jobs.filter(job => job.id).map(({ id, name }) => ({ id, name })).slice(-MAX_KEPT);
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  };
  const restore = async () => {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]").map(({ id, name }) => ({ ...addItem(name), id, isOver: false }));
    jobs.push(...kept);
    if (kept.length) {
      document.getElementById("clear").hidden = false;
      showOverview();
    }
    for (const job of kept) {
      const response = await fetch(`${root}/predictions/${job.id}/`, { headers: { Accept: "application/json" } }).catch(() => null);
      if (response?.ok) accepted(job, await response.json());
      else if (response?.status === 404) { jobs.splice(jobs.indexOf(job), 1); job.item.remove(); }
    }
    showOverview();
  };
  const clear = element("button", { type: "button", id: "clear", className: "link", textContent: _("Clear the results"), hidden: true, onclick: () => {
    for (const job of jobs.filter(one => one.isOver)) { job.item.remove(); jobs.splice(jobs.indexOf(job), 1); }
    sessionStorage.removeItem(KEPT);
    clear.hidden = true;
    showOverview();
  } });
  results.after(clear);
  restore();

  const addAll = list => {
    const images = [...list].filter(file => !file.name.startsWith("."));
    if (images.length) clear.hidden = false;
    for (const file of images) add(file);
  };
  for (const input of [files, photo]) input.addEventListener("change", () => { addAll(input.files); input.value = ""; });
  folder.addEventListener("change", () => { addAll([...folder.files].filter(file => IMAGES.test(file.name))); folder.value = ""; });
  upload.addEventListener("submit", event => { event.preventDefault(); addAll(files.files); files.value = ""; });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, event => { event.preventDefault(); upload.classList.add("over"); });
  }
  document.addEventListener("dragleave", event => { if (!event.relatedTarget) upload.classList.remove("over"); });
  document.addEventListener("drop", async event => {
    event.preventDefault();
    upload.classList.remove("over");
    const dropped = [...event.dataTransfer.files], entries = entriesOf(event.dataTransfer);
    if (!entries.some(entry => entry.isDirectory)) { addAll(dropped); return; }
    try {
      const found = (await Promise.all(entries.map(entry => filesBelow(entry)))).flat();
      addAll(found.map(({ file }) => file).filter(file => IMAGES.test(file.name)));
    } catch { toast(_("The folder cannot be read.")); }
  });
  for (const link of document.querySelectorAll("[data-sample]")) {
    link.addEventListener("click", async event => {
      event.preventDefault();
      const response = await fetch(link.href).catch(() => null);
      if (!response?.ok) { toast(_("The service cannot be reached.")); return; }
      addAll([new File([await response.blob()], link.dataset.sample, { type: "image/jpeg" })]);
    });
  }
  document.addEventListener("paste", event => { addAll(event.clipboardData?.files ?? []); });
}

// --- History: loads more while scrolling. ---

function endless() {
  const more = document.getElementById("more"), gallery = document.getElementById("gallery");
  if (!more || !gallery) return;
  let loading = false;
  const load = async () => {
    if (loading) return;
    loading = true;
    watcher.disconnect();
    const text = await (await fetch(more.href)).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    const found = page.getElementById("gallery");
    if (!found) return;
    followCards(found);
    gallery.append(...found.children);
    more.closest("p").replaceWith(...[page.getElementById("more")?.closest("p")].filter(Boolean));
    endless();
  };
  const watcher = new IntersectionObserver(entries => { if (entries.some(entry => entry.isIntersecting)) load().catch(() => { loading = false; }); }, { rootMargin: "600px" });
  watcher.observe(more);
  more.addEventListener("click", event => { event.preventDefault(); load().catch(() => { location = more.href; }); });
}
endless();

// --- History: select images, and do something with all of them. ---

const chosen = document.getElementById("chosen"), gallery = document.getElementById("gallery");
if (chosen && gallery) {
  const everything = chosen.elements.everything;
  const boxes = () => [...gallery.querySelectorAll(".select input")];
  const checked = () => boxes().filter(box => box.checked && !box.closest(".card").hidden);
  let anchor = null;

  const show = () => {
    const ids = checked().map(box => box.value), isAny = ids.length > 0;
    chosen.classList.toggle("any", isAny);
    gallery.classList.toggle("selecting", isAny);
    if (!isAny) everything.checked = false;
    document.getElementById("chosen-count").textContent = everything.checked ? _("All selected") : _("%(count)s selected", { count: ids.length });
    document.getElementById("chosen-exports").hidden = !everything.checked && ids.length > MAX_EXPORTED;
    for (const link of chosen.querySelectorAll("[data-chosen-export]")) {
      const format = link.dataset.chosenExport, all = document.querySelector(`[data-export="${format}"]`);
      link.href = everything.checked ? all.href : `${root}/predictions/export?${new URLSearchParams([["format", format], ...ids.map(id => ["ids", id])])}`;
    }
  };
  const clear = () => { for (const box of boxes()) box.checked = false; show(); };
  const choose = (box, isRange) => {
    const all = boxes().filter(one => !one.closest(".card").hidden);
    if (isRange && anchor) {
      const [from, to] = [all.indexOf(anchor), all.indexOf(box)].sort((a, b) => a - b);
      for (const one of all.slice(Math.max(0, from), to + 1)) one.checked = box.checked;
    }
    anchor = box;
    show();
  };
  gallery.addEventListener("click", event => {
    const card = event.target.closest(".card"), box = card?.querySelector(".select input");
    if (!box) return;
    if (event.target === box) { choose(box, event.shiftKey); return; }
    // Once something is selected, a click on an image selects, too.
    if (event.target.closest("a") && !event.ctrlKey && !event.metaKey && (event.shiftKey || checked().length)) {
      event.preventDefault();
      box.checked = !box.checked;
      choose(box, event.shiftKey);
    }
  });
  everything.addEventListener("change", show);
  document.getElementById("chosen-clear").addEventListener("click", clear);
  document.addEventListener("keydown", event => {
    if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = document.activeElement?.closest?.(".card")?.querySelector(".select input"), key = event.key.toLowerCase();
    if (key === "x" && box) { box.checked = !box.checked; choose(box, event.shiftKey); }
    else if (key === "escape" && checked().length) clear();
    else if (key === "delete" && checked().length) chosen.requestSubmit(chosen.querySelector("[value=delete]"));
    else return;
    event.preventDefault();
  });

  const NAMES = { delete: _("Deleted."), reclassify: _("Will be classified again."), teach: _("Added.") };
  chosen.addEventListener("submit", event => {
    event.preventDefault();
    const action = event.submitter?.value;
    if (!action) return;
    const cards = checked().map(box => box.closest(".card")), isAll = everything.checked;
    const form = new FormData(chosen);
    form.delete("ids");
    form.set("action", action);
    form.set("sure", "true");
    if (!isAll) for (const card of cards) form.append("ids", card.dataset.id);
    if (action === "teach" && !form.get("as_label").trim()) { chosen.elements.as_label.focus(); return; }
    clear();
    const affected = isAll ? [...gallery.children] : cards;
    const ids = isAll ? [] : cards.map(card => card.dataset.id);
    if (action === "delete") for (const card of affected) card.hidden = true;
    undoable(NAMES[action], async () => {
      if (action === "delete") for (const id of ids) unconfirmed.add(id);
      try {
        await sendAll(form, [...ids]);
        for (const id of ids) unconfirmed.remove(id);
        if (action === "delete" && !isAll) for (const card of cards) card.remove();
        else if (action !== "teach") location.reload();
      } catch (error) {
        for (const id of ids) unconfirmed.remove(id);
        for (const card of affected) card.hidden = false;
        toast(_("Not saved: %(reason)s", { reason: error.message }));
      }
    }, () => { for (const card of affected) card.hidden = false; });
  });

  // In batches, as the service accepts them.
  async function sendAll(form, ids) {
    let before = null, done = 0;
    const progress = toast("");
    try {
      do {
        if (ids.length) {
          form.delete("ids");
          for (const id of ids.splice(0, AT_ONCE_CHANGED)) form.append("ids", id);
        }
        if (before) form.set("before", before);
        const response = await fetch(chosen.action, { method: "POST", body: form, keepalive: ids.length === 0, headers: { ...OWN, Accept: "application/json" } })
          .catch(() => { throw new Error(_("The service cannot be reached.")); });
        const answer = await response.json().catch(() => ({}));
        if (!response.ok) throw new Error(_(answer.detail ?? _("The service responded with %(status)s.", { status: response.status })));
        done += answer.changed;
        before = answer.before;
        progress.textContent = _("Done: %(count)s", { count: done });
      } while (before || ids.length);
    } finally { progress.remove(); }
  }
  show();
}

// Does something after a moment in which it can be undone; at once if the page is left.
function undoable(text, action, undo) {
  let isOver = false;
  const finish = () => {
    if (isOver) return;
    isOver = true;
    shown.remove();
    action();
  };
  let timer = setTimeout(finish, UNDO_MS);
  const shown = toast(text, _("Undo"), () => { isOver = true; clearTimeout(timer); undo(); });
  // Hovering or focusing the message pauses the countdown.
  for (const name of ["mouseenter", "focusin"]) shown.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["mouseleave", "focusout"]) shown.addEventListener(name, () => { clearTimeout(timer); timer = setTimeout(finish, UNDO_MS); });
  addEventListener("pagehide", finish);
}

// --- One prediction: label suggestions, and deletion with undo. ---

// The labels of a model as suggestions, read when they are first needed.
function suggest(field) {
  field.addEventListener("focus", async () => {
    const id = field.getAttribute("list");
    if (!id || document.getElementById(id)?.children.length) return;
    const suggestions = document.getElementById(id) ?? element("datalist", { id });
    document.body.append(suggestions);
    const response = await fetch(field.dataset.labels).catch(() => null);
    if (response?.ok) suggestions.replaceChildren(...(await response.json()).map(value => element("option", { value })));
  });
}
document.querySelectorAll("[data-labels]").forEach(suggest);

document.querySelector("[data-delete]")?.addEventListener("submit", event => {
  event.preventDefault();
  const dialog = element("dialog");
  dialog.setAttribute("aria-label", _("Delete"));
  const sure = element("button", { type: "button", textContent: _("Delete"), className: "danger" });
  const keep = element("button", { type: "button", textContent: _("Cancel"), onclick: () => dialog.close() });
  dialog.append(element("p", { textContent: _("Delete the image and all its results?") }), element("p", { className: "choices" }, keep, sure));
  dialog.addEventListener("close", () => dialog.remove());
  sure.onclick = () => {
    sessionStorage.setItem("deleting", detail.dataset.id);
    location = `${root}/history`;
  };
  document.body.append(dialog);
  dialog.showModal();
});

const cardOf = id => document.querySelector(`.card[data-id="${CSS.escape(id)}"]`);
// Deletions that the server has not confirmed. Kept in the tab, since the page may be left before.
const unconfirmed = {
  all: () => JSON.parse(sessionStorage.getItem("unconfirmed") ?? "[]"),
  add: id => sessionStorage.setItem("unconfirmed", JSON.stringify([...new Set([...unconfirmed.all(), id])])),
  remove: id => sessionStorage.setItem("unconfirmed", JSON.stringify(unconfirmed.all().filter(other => other !== id))),
};

async function remove(id) {
  const card = cardOf(id);
  if (card) card.hidden = true;
  // A thumbnail that is still loading would fail: its image goes with the prediction.
  const thumbnail = card?.querySelector("img"), source = thumbnail?.getAttribute("src");
  thumbnail?.removeAttribute("src");
  try {
    // keepalive: completes even if the page is left.
    const response = await fetch(`${root}/predictions/${id}/`, { method: "DELETE", keepalive: true, headers: OWN });
    if (!response.ok && response.status !== 404) throw new Error();
    card?.remove();
  } catch {
    thumbnail?.setAttribute("src", source);
    if (card) card.hidden = false;
    toast(_("The prediction could not be deleted."));
  }
  unconfirmed.remove(id);
}
if (document.getElementById("gallery")) {
  // This page may have been rendered before the deletion arrived: its card is hidden, and the deletion sent again.
  for (const id of unconfirmed.all()) cardOf(id) ? remove(id) : unconfirmed.remove(id);
}

const deleting = sessionStorage.getItem("deleting");
if (deleting) {
  sessionStorage.removeItem("deleting");
  unconfirmed.add(deleting);
  const card = cardOf(deleting);
  if (card) card.hidden = true;
  undoable(_("Deleted."), () => remove(deleting), () => {
    unconfirmed.remove(deleting);
    if (card) card.hidden = false;
  });
}

// --- Teach: a folder of folders, by choosing or dropping it; the end of a training. ---

const teach = document.querySelector(".teach");
const examplesForm = document.getElementById("examples");
const PART_FILES = 20, PART_BYTES = 12 * 2 ** 20;
let adding = Promise.resolve(), isAdding = false;

// The chosen folder's own name says nothing if it contains folders of labels.
function withoutOuterFolder(images) {
  const parts = images.map(({ name }) => name.split("/"));
  const isOuter = parts.length && parts.every(part => part.length > 2 && part[0] === parts[0][0]);
  return isOuter ? images.map(({ file }, index) => ({ file, name: parts[index].slice(1).join("/") })) : images;
}

const detailOf = body => Array.isArray(body.detail) ? body.detail.map(entry => entry.msg).join("; ") : body.detail;

async function addExamples(files) {
  const state = document.getElementById("examples-state"), maxBytes = Number(teach.dataset.maxBytes);
  const images = withoutOuterFolder(files.filter(({ name }) => IMAGES.test(name) && !/(^|\/)\./.test(name)));
  const refused = [];
  const say = (text, kind = "busy") => state.replaceChildren(element("p", { className: `answer ${kind}`, textContent: text }));
  if (!images.length) { say(_("No images found."), "failed"); return; }
  let done = 0;
  while (done < images.length) {
    const form = new FormData(), first = done;
    let bytes = 0;
    const tooLarge = [];
    while (done < images.length && done - first < PART_FILES && (bytes === 0 || bytes + images[done].file.size <= PART_BYTES)) {
      const { name, file } = images[done];
      done += 1;
      if (file.size > maxBytes) { tooLarge.push(_("%(name)s: larger than %(limit)s MiB", { name, limit: (maxBytes / 2 ** 20).toFixed(0) })); continue; }
      bytes += file.size;
      form.append("file", file, name);
    }
    say(_("Adding images: %(done)s of %(all)s", { done: first, all: images.length }));
    let response = null;
    if (bytes) {
      try {
        response = await fetch(`${root}/models/${encodeURIComponent(teach.dataset.model)}/examples/batch`, { method: "POST", body: form, headers: OWN });
      } catch {
        say(_("The connection was lost after %(done)s of %(all)s images. Add the folder again: no image becomes an example twice.", { done: first, all: images.length }), "failed");
        return;
      }
      if (response.status === 429 || response.status === 503) {
        const seconds = Number(response.headers.get("Retry-After")) || 5;
        say(_("The service is busy. Retrying in %(seconds)s s.", { seconds }));
        await pause(seconds);
        done = first;
        continue;
      }
    }
    refused.push(...tooLarge);
    if (!response) continue;
    const batch = await response.json().catch(() => ({}));
    for (const item of batch.items ?? []) if (item.error) refused.push(`${item.filename}: ${item.error.message}`);
    if (!response.ok || batch.error) {
      const reason = batch.error?.message ?? detailOf(batch) ?? _("The service responded with %(status)s.", { status: response.status });
      refused.push(_("%(reason)s Images not sent: %(count)s", { reason, count: images.length - first - (batch.items?.length ?? 0) }));
      break;
    }
  }
  if (!refused.length) { location.reload(); return; }
  state.replaceChildren(
    element("p", { className: "failed", textContent: _("These images were not added:") }),
    element("ul", {}, ...refused.slice(0, 20).map(text => element("li", { textContent: text })),
      ...(refused.length > 20 ? [element("li", { textContent: _("and %(count)s more", { count: refused.length - 20 }) })] : [])),
    element("p", {}, element("button", { type: "button", textContent: _("Continue"), onclick: () => location.reload() })));
}

// One folder after the other: the page is loaded again at the end.
function queueExamples(reading) {
  adding = adding.then(async () => {
    isAdding = true;
    try { await addExamples(await reading); }
    catch { toast(_("The folder cannot be read.")); }
    isAdding = false;
  });
}

if (examplesForm) {
  examplesForm.classList.add("folders");
  const folder = document.getElementById("folder");
  folder.addEventListener("change", () => {
    queueExamples([...folder.files].map(file => ({ name: file.webkitRelativePath || file.name, file })));
    folder.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, event => { event.preventDefault(); examplesForm.classList.add("over"); });
  }
  document.addEventListener("dragleave", event => { if (!event.relatedTarget) examplesForm.classList.remove("over"); });
  document.addEventListener("drop", event => {
    event.preventDefault();
    examplesForm.classList.remove("over");
    const entries = entriesOf(event.dataTransfer);
    queueExamples(Promise.all(entries.map(entry => filesBelow(entry))).then(lists => lists.flat()));
  });
}

if (teach?.dataset.training) {
  const path = `${root}/models/${encodeURIComponent(teach.dataset.model)}/trainings/${teach.dataset.training}`;
  const show = () => isAdding ? toast(_("The training has ended."), _("Show"), () => location.reload()) : location.reload();
  const follow = async () => {
    for (;;) {
      const response = await fetch(path, { headers: { Accept: "application/json", Prefer: "wait=10" } }).catch(() => null);
      if (response?.ok && !OPEN.has((await response.json()).status)) break;
      if (response?.status === 404) break;
      await pause(Number(response?.headers.get("Retry-After")) || (response?.ok ? POLL_MS / 1000 : 5));
    }
    show();
  };
  follow();
}

// --- Statistics: the numbers and charts are up to date while the page is visible. ---

const live = document.getElementById("live");
if (live) {
  setInterval(async () => {
    if (document.hidden || live.querySelector("details[open]") || live.contains(document.activeElement)) return;
    const response = await fetch(location.href).catch(() => null);
    if (!response?.ok) return;
    const shown = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("live");
    if (!shown) return;
    showLocalTimes(shown);
    showLocalAxes(shown);
    live.replaceChildren(...shown.children);
  }, LIVE_MS);
}

// --- Models: search a model's labels. ---

for (const details of document.querySelectorAll("[data-search-labels]")) {
  details.addEventListener("toggle", async () => {
    if (!details.open || details.querySelector("input")) return;
    const response = await fetch(details.dataset.searchLabels).catch(() => null);
    if (!response?.ok) return;
    const labels = (await response.json()).map(words);
    const field = element("input", { type: "search" }), found = element("ul", { className: "found" });
    field.setAttribute("aria-label", _("Search its labels"));
    const show = () => {
      const text = field.value.trim().toLowerCase(), matching = labels.filter(label => label.toLowerCase().includes(text));
      found.replaceChildren(...matching.slice(0, MAX_FOUND).map(label => element("li", { textContent: label })),
        ...(matching.length > MAX_FOUND ? [element("li", { className: "note", textContent: _("and %(count)s more", { count: matching.length - MAX_FOUND }) })] : []));
    };
    field.addEventListener("input", show);
    details.append(field, found);
    show();
    field.focus();
  });
}

// --- API keys: copy a new one, and ask before one is revoked. ---

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = _("Copied");
  });
}
for (const form of document.querySelectorAll("[data-confirm]")) {
  form.addEventListener("submit", event => { if (!confirm(form.dataset.confirm)) event.preventDefault(); });
}
