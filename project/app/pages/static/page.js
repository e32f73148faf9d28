// What all pages share: texts, names of labels, times, shortcuts, live results, and images dropped on any page.
"use strict";

const root = document.body.dataset.root;
// Other origins' scripts may not send this header: it tells the service that a request is its own page's.
const OWN = { "X-Requested-With": "XMLHttpRequest" };
const IMAGES = /\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif)$/i;
const AT_ONCE = 3, POLL_MS = 1000, UNDO_MS = 6000, IN_FLIGHT_S = 2, RECONNECT_S = 1, LIVE_MS = 30_000, MAX_FOUND = 10, AT_ONCE_CHANGED = 500, MAX_EXPORTED = 200, OPEN = new Set(["pending", "processing"]);

// Texts in the language of the page; without a translation, in English. Values replace %(names)s.
const TEXTS = JSON.parse(document.getElementById("texts")?.textContent ?? "{}");
function _(text, values = {}) {
  return (TEXTS[text] ?? text).replace(/%\((\w+)\)s/g, (_match, name) => values[name]);
}

// A message of the service, which may contain values, such as a number or what a file is.
const TEMPLATES = Object.keys(TEXTS).filter(text => text.includes("{}")).sort((a, b) => b.length - a.length)
  .map(text => [new RegExp(`^${text.split("{}").map(part => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("(.+?)")}$`, "s"), TEXTS[text]]);
function messageOf(text) {
  if (text in TEXTS) return TEXTS[text];
  for (const [pattern, target] of TEMPLATES) {
    const values = pattern.exec(text)?.slice(1);
    if (values) return target.replaceAll("{}", () => { const value = values.shift(); return TEXTS[value] ?? value; });
  }
  return text;
}

// What is wrong according to a problem document, if it says so.
const detailOf = body => Array.isArray(body.detail)
  ? body.detail.map(entry => messageOf(entry.msg.replace(/^Value error, /, ""))).join("; ") : body.detail && messageOf(body.detail);

// What people call labels and categories in the language of the page, as far as it has been asked for.
const names = new Map(), categoryNames = new Map(), labelsByName = new Map();
const words = label => names.get(label) ?? label.replaceAll("_", " ");
function learn({ labels = {}, categories = {} }) {
  for (const [label, name] of Object.entries(labels)) { names.set(label, name); labelsByName.set(name, label); }
  for (const [category, name] of Object.entries(categories)) categoryNames.set(category, name);
}
async function learnNames(prediction) {
  const labels = (prediction.all_predictions ?? []).map(score => score.label).filter(label => !names.has(label));
  const categories = (prediction.categories ?? []).map(one => one.name).filter(name => !categoryNames.has(name));
  if (!labels.length && !categories.length) return;
  const asked = new URLSearchParams([...labels.map(label => ["label", label]), ...categories.map(name => ["category", name])]);
  const response = await fetch(`${root}/label-names?${asked}`).catch(() => null);
  if (response?.ok) learn(await response.json());
}

// The narrowest category that is certain, where the label is not: as in rendering.py.
const CATEGORY_CERTAIN = 0.8;
function categoryOf(prediction) {
  if (prediction.verdict || prediction.corrected_at || prediction.decision !== "unsure") return null;
  const certain = (prediction.categories ?? []).filter(one => one.confidence >= CATEGORY_CERTAIN);
  return certain.length ? certain.reduce((best, one) => one.confidence < best.confidence ? one : best) : null;
}
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

const unsureTag = prediction => prediction.decision === "unsure" && !prediction.verdict && !prediction.corrected_at
  ? [" ", element("span", { className: "tag", textContent: _("unsure") })] : [];

function result(prediction) {
  const category = prediction.status === "succeeded" && categoryOf(prediction);
  if (category) {
    const perhaps = _("perhaps %(label)s, %(confidence)s", { label: words(prediction.top_prediction), confidence: percent(prediction.confidence) });
    return element("p", { className: "answer" }, element("strong", { textContent: categoryNames.get(category.name) ?? category.name }), " ",
      element("span", { className: "number", textContent: percent(category.confidence) }), " ", element("span", { className: "note", textContent: perhaps }), ...unsureTag(prediction));
  }
  if (prediction.status === "succeeded") {
    return element("p", { className: "answer" }, element("strong", { textContent: words(prediction.top_prediction) }), " ",
      element("span", { className: "number", textContent: percent(prediction.confidence) }), ...unsureTag(prediction));
  }
  if (prediction.status === "failed") {
    return element("p", { className: "answer failed" }, element("strong", { textContent: _("Failed") }), ` ${messageOf(prediction.error?.message ?? "")}`);
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
  const button = event.currentTarget, { next } = button.dataset, age = next ? 31_536_000 : 0;
  document.cookie = `theme=${next}; path=${root || "/"}; max-age=${age}; samesite=lax`;
  document.documentElement.dataset.theme = next;
  button.dataset.next = { "": "light", light: "dark", dark: "" }[next];
  button.textContent = { "": _("Theme: automatic"), light: _("Theme: light"), dark: _("Theme: dark") }[next];
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
let isAfterG = false;
document.addEventListener("keydown", event => {
  if (!shortcuts || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox], [type=radio]), select, textarea, dialog[open], [contenteditable]")) return;
  const key = event.key.toLowerCase(), target = isAfterG ? { h: "/history", r: "/review" }[key] : { u: "/" }[key];
  isAfterG = key === "g" && !document.getElementById("reviews");
  const search = document.querySelector("[data-shortcut='/']");
  const neighbour = { arrowleft: "newer", arrowright: "older" }[key], link = neighbour && document.getElementById(neighbour);
  if (key === "u" && target && document.getElementById("files")) document.getElementById("files").click();
  else if (target) location = root + target;
  else if (key === "?") shortcuts.showModal();
  else if (key === "/") search ? search.focus() : location = `${root}/history#search`;
  else if (link && !event.target.closest(".scroll")) link.click();
  else if (key === "delete" && document.querySelector("[data-delete]")) document.querySelector("[data-delete]").requestSubmit();
  else return;
  event.preventDefault();
});
if (location.hash === "#search") document.querySelector("[data-shortcut='/']")?.focus();

// --- Live results: events of all predictions; without a connection, polls the unfinished predictions shown. ---

const followed = new Map();   // id → function(prediction)

async function refresh(id) {
  const response = await fetch(`${root}/predictions/${id}/`, { headers: { Accept: "application/json" } });
  if (response.ok) {
    const prediction = await response.json();
    await learnNames(prediction);
    followed.get(id)?.(prediction);
  } else if (response.status === 404) forget(id);
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
    fetch(`${root}/ping`, { cache: "no-store" }).catch(() => whenReachable());
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

// --- Files: images of folders, and addresses of batches. ---

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

// "3-5,9" for 3, 4, 5 and 9: the address of a batch, to return to.
function rangesOf(ids) {
  const parts = [];
  for (const id of [...ids].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && id === last[1] + 1) last[1] = id;
    else parts.push([id, id]);
  }
  return parts.map(([from, to]) => from === to ? from : `${from}-${to}`).join(",");
}

const newKey = () => crypto.randomUUID ? crypto.randomUUID() : Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");

// Whether a file can still be read: it may have been changed or removed since it was chosen.
const isReadable = file => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

// Sends a file, again with the same key once the service can be reached; null if the file is gone.
async function sendFile(file, address, body, headers = {}) {
  const all = { ...OWN, ...headers, "Idempotency-Key": newKey() };
  for (;;) {
    const response = await fetch(address, { method: "POST", body, headers: all }).catch(() => null);
    if (response && ![429, 503].includes(response.status)) return response;
    if (response) await pause(Number(response.headers.get("Retry-After")) || RECONNECT_S);
    else if (!await isReadable(file)) return null;
    else await whenReachable();
  }
}

// --- Everywhere else: dropped images are uploaded. ---

if (!document.getElementById("upload") && !document.getElementById("examples") && shortcuts && "mayUpload" in document.body.dataset) {
  const isFiles = event => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", event => { if (isFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", async event => {
    if (!isFiles(event)) return;
    event.preventDefault();
    const dropped = [...event.dataTransfer.files], entries = entriesOf(event.dataTransfer);
    const found = entries.some(entry => entry.isDirectory)
      ? (await Promise.all(entries.map(entry => filesBelow(entry)))).flat().map(({ file }) => file) : dropped;
    const images = found.filter(file => IMAGES.test(file.name));
    if (found.some(file => /\.zip$/i.test(file.name))) toast(_("Drop ZIP files on the page Classify."), _("Classify"), () => { location = `${root}/`; });
    else if (!images.length) { toast(_("No images found.")); return; }
    if (!images.length) return;
    const progress = toast(_("Uploading: %(done)s of %(all)s", { done: 0, all: images.length })), ids = [];
    const warn = leaving => leaving.preventDefault();
    addEventListener("beforeunload", warn);
    for (const file of images) {
      const form = new FormData();
      form.append("file", file, file.name);
      const response = await sendFile(file, `${root}/predictions/`, form);
      if (response?.ok) ids.push((await response.json()).id);
      progress.textContent = _("Uploading: %(done)s of %(all)s", { done: ids.length, all: images.length });
    }
    removeEventListener("beforeunload", warn);
    progress.remove();
    const text = ids.length === images.length ? _("Uploaded: %(count)s", { count: ids.length })
      : _("Uploaded: %(count)s; not accepted: %(failed)s", { count: ids.length, failed: images.length - ids.length });
    if (ids.length) toast(text, _("Show"), () => { location = `${root}/history?only=${rangesOf(ids)}`; });
    else toast(text);
  });
}

// --- Labels: suggestions while typing. ---

// The labels of a model as suggestions, read when they are first needed.
function suggest(field) {
  field.addEventListener("focus", async () => {
    const id = field.getAttribute("list");
    if (!id || document.getElementById(id)?.children.length) return;
    const suggestions = document.getElementById(id) ?? element("datalist", { id });
    document.body.append(suggestions);
    const response = await fetch(field.dataset.labels).catch(() => null);
    if (!response?.ok) return;
    const { labels } = await response.json();
    learn({ labels });
    // Custom models have the labels that people gave them.
    const shown = "custom" in field.dataset ? Object.keys(labels) : new Set(Object.values(labels));
    suggestions.replaceChildren(...[...shown].map(value => element("option", { value })));
  });
}
document.querySelectorAll("[data-labels]").forEach(suggest);

// --- Statistics: the numbers and charts are up to date while the page is visible. ---

const live = document.getElementById("live");
if (live) {
  setInterval(async () => {
    if (document.hidden || live.querySelector("details[open]") || live.contains(document.activeElement)) return;
    const response = await fetch(location.href).catch(() => null);
    if (!response) whenReachable();
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
    const labels = Object.values((await response.json()).labels);
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

// Browsers have a clipboard for scripts only on localhost and over HTTPS.
async function copy(from) {
  if (navigator.clipboard) { await navigator.clipboard.writeText(from.textContent); return; }
  getSelection().selectAllChildren(from);
  document.execCommand("copy");
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await copy(document.getElementById(button.dataset.copy));
    button.textContent = _("Copied");
  });
}
for (const form of document.querySelectorAll("[data-confirm]")) {
  form.addEventListener("submit", event => { if (!confirm(form.dataset.confirm)) event.preventDefault(); });
}
