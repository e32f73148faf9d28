// The pages of custom models: a folder of folders, by choosing or dropping it, and the end of a training.
"use strict";

const teach = document.querySelector(".teach");
const examplesForm = document.getElementById("examples");
const PART_FILES = 20, PART_BYTES = 12 * 2 ** 20;
let adding = Promise.resolve(), foldersLeft = 0;

// The chosen folder's own name says nothing if it contains folders of labels; images beside these have no label.
function withoutOuterFolder(images) {
  const parts = images.map(({ name }) => name.split("/"));
  const nested = parts.filter(part => part.length > 2).length;
  const isOuter = nested > parts.length / 2 && parts.every(part => part.length > 1 && part[0] === parts[0][0]);
  return isOuter ? images.map(({ file }, index) => ({ file, name: parts[index].slice(1).join("/") })) : images;
}


// True if all were added.
async function addExamples(files) {
  const state = document.getElementById("examples-state"), maxBytes = Number(teach.dataset.maxBytes);
  const images = withoutOuterFolder(files.filter(({ name }) => IMAGES.test(name) && !/(^|\/)\./.test(name)));
  const refused = [];
  const say = (text, kind = "busy") => state.replaceChildren(element("p", { className: `answer ${kind}`, textContent: text }));
  if (!images.length) { say(_("No images found."), "failed"); return false; }
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
        return false;
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
    for (const item of batch.items ?? []) if (item.error) refused.push(`${item.filename}: ${messageOf(item.error.message)}`);
    if (!response.ok || batch.error) {
      const message = batch.error ? messageOf(batch.error.message) : detailOf(batch);
      const reason = message ?? _("The service responded with %(status)s.", { status: response.status });
      refused.push(_("%(reason)s Images not sent: %(count)s", { reason, count: images.length - first - (batch.items?.length ?? 0) }));
      break;
    }
  }
  if (!refused.length) return true;
  state.replaceChildren(
    element("p", { className: "failed", textContent: _("These images were not added:") }),
    element("ul", {}, ...refused.slice(0, 20).map(text => element("li", { textContent: text })),
      ...(refused.length > 20 ? [element("li", { textContent: _("and %(count)s more", { count: refused.length - 20 }) })] : [])),
    element("p", {}, element("button", { type: "button", textContent: _("Continue"), onclick: () => location.reload() })));
  return false;
}

// One folder after the other: the page is loaded again at the end.
function queueExamples(reading) {
  count(1);
  adding = adding.then(async () => {
    let isComplete = false;
    try { isComplete = await addExamples(await reading); }
    catch { toast(_("The folder cannot be read.")); }
    count(-1);
    if (isComplete && !foldersLeft) location.reload();
  });
  function count(by) {
    foldersLeft += by;
    document.getElementById("train").disabled = foldersLeft > 0 || Boolean(teach.dataset.training);
  }
}
addEventListener("beforeunload", event => { if (foldersLeft) event.preventDefault(); });

if (examplesForm) {
  const folder = document.getElementById("folder");
  const addChosen = () => {
    if (folder.files.length) queueExamples([...folder.files].map(file => ({ name: file.webkitRelativePath || file.name, file })));
    folder.value = "";
  };
  folder.addEventListener("change", addChosen);
  // Chosen while the page was loading.
  addChosen();
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
  const show = () => foldersLeft ? toast(_("The training has ended."), _("Show"), () => location.reload()) : location.reload();
  const bar = document.getElementById("progress");
  const follow = async () => {
    for (;;) {
      // A second, so that the progress is seen.
      const response = await fetch(path, { headers: { Accept: "application/json", Prefer: "wait=1" } }).catch(() => null);
      const training = response?.ok ? await response.json().catch(() => null) : null;
      if (training && !OPEN.has(training.status)) break;
      if (training?.progress) bar.value = training.progress;
      if (response?.status === 404) break;
      await pause(Number(response?.headers.get("Retry-After")) || (response?.ok ? POLL_MS / 1000 : 5));
    }
    show();
  };
  follow();
}
