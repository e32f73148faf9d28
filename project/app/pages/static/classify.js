// The page Classify: many images, each with its own progress, error and result.
"use strict";

const upload = document.getElementById("upload"), MAX_KEPT = 500, MAX_ADDRESS = 4000;
if (upload) {
  const files = document.getElementById("files"), photo = document.getElementById("photo"), folder = document.getElementById("folder");
  const results = document.getElementById("results"), overview = document.getElementById("batch"), maxBytes = Number(upload.dataset.maxBytes);
  const jobs = [], waiting = [];
  let busy = 0, isPaused = false;
  files.multiple = true;
  files.required = false;
  if (matchMedia("(pointer: coarse)").matches) { photo.hidden = true; document.querySelector(".camera").hidden = false; }

  // What is shown for an image: a picture, its name, and its state.
  const addItem = (name, before = null) => {
    const image = element("img", { alt: "", width: 160, height: 120 }), state = element("div"), action = element("div");
    // Browsers cannot display every format that the service accepts.
    image.onerror = () => image.classList.add("none");
    image.onload = () => image.classList.remove("none");
    const item = element("li", { className: "result" }, image, element("div", {}, element("h3", { textContent: name }), state), action);
    if (before) before.before(item);
    else results.append(item);
    return { name, item, image, state, action };
  };

  const add = file => {
    const progress = element("progress", { max: 1, value: 0 });
    progress.setAttribute("aria-label", _("Upload of %(name)s", { name: file.name }));
    const job = { ...addItem(file.name), file, progress, key: newKey(), model: document.getElementById("model").value, isOver: false };
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
  const allLink = element("a", { textContent: _("These images in History") });
  overview.append(count, total, pauseButton, retryButton, allLink);
  const showOverview = () => {
    const over = jobs.filter(job => job.isOver).length, failed = jobs.filter(job => job.again).length;
    overview.hidden = jobs.length < 2 && !isPaused;
    count.textContent = _("%(done)s of %(all)s", { done: over, all: jobs.length });
    total.max = jobs.length;
    total.value = over;
    total.hidden = pauseButton.hidden = over === jobs.length;
    pauseButton.textContent = isPaused ? _("Resume") : _("Pause");
    retryButton.hidden = failed < 2;
    const ids = jobs.map(job => job.id).filter(Boolean);
    const ranges = rangesOf(ids);
    allLink.hidden = ids.length < 2 || ranges.length > MAX_ADDRESS;
    allLink.href = `${root}/history?only=${ranges}`;
  };
  addEventListener("beforeunload", event => {
    // Also those that wait for the service.
    if (jobs.some(job => !job.isOver && !job.id)) event.preventDefault();
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
  const disconnected = async job => {
    if (!await isReadable(job.file)) {
      fail(job, _("This file has been changed or removed since you chose it. Choose it again."));
      return;
    }
    job.state.replaceChildren(
      element("p", { className: "answer busy", textContent: _("The service cannot be reached. The upload continues by itself.") }),
      element("button", { type: "button", textContent: _("Try again"), onclick: () => retry() }));
    let isRetried = false;
    const retry = () => { if (!isRetried) { isRetried = true; enqueue(job); } };
    whenReachable().then(retry);
  };

  const received = (job, request) => {
    if (request.status === 401) {
      fail(job, _("You are signed out."), true);
      job.state.append(" ", element("a", { href: `${root}/sign-in`, target: "_blank", textContent: _("Sign in") }));
      return;
    }
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
    learnNames(prediction).then(() => show(job, prediction));
    if (OPEN.has(prediction.status)) follow(prediction.id, changed => show(job, changed));
  };

  const refusal = request => {
    try {
      const body = JSON.parse(request.responseText);
      if (body.detail === "File must be an image" && !body.reason) return _("Unsupported file. Use JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF.");
      return body.reason ? messageOf(body.reason) : detailOf(body);
    } catch { return _("The service responded with %(status)s.", { status: request.status }); }
  };

  const show = (job, prediction) => {
    job.state.replaceChildren(...(prediction.all_predictions ? [...(prediction.decision === "unsure" ? [result(prediction)] : []), bars(prediction.all_predictions)] : [result(prediction)]));
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
  const KEPT = "results";
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

  // A ZIP file of images is sent as a whole; each of its images becomes a result.
  const addZip = async file => {
    const job = { ...addItem(file.name), isOver: false };
    jobs.push(job);
    job.state.replaceChildren(element("p", { className: "answer busy", textContent: _("Uploading…") }));
    showOverview();
    const address = `${root}/predictions/batch?${new URLSearchParams({ model: document.getElementById("model").value })}`;
    const response = await sendFile(file, address, file, { "Content-Type": "application/zip" });
    if (!response) { fail(job, _("This file has been changed or removed since you chose it. Choose it again.")); return; }
    const answer = await response.json().catch(() => null);
    for (const item of answer?.items ?? []) {
      const one = { ...addItem(item.filename, job.item), isOver: false };
      jobs.push(one);
      if (item.prediction) accepted(one, item.prediction);
      else fail(one, messageOf(item.error.message));
    }
    const problem = answer?.error ? messageOf(answer.error.message)
      : response.ok ? null : detailOf(answer ?? {}) ?? _("The service responded with %(status)s.", { status: response.status });
    if (problem) fail(job, problem);
    else { job.item.remove(); jobs.splice(jobs.indexOf(job), 1); }
    remember();
    showOverview();
  };

  const addAll = list => {
    const chosen = [...list].filter(file => !file.name.startsWith("."));
    if (chosen.length) clear.hidden = false;
    if (jobs.every(job => job.isOver)) isPaused = false;
    for (const file of chosen) /\.zip$/i.test(file.name) ? addZip(file) : add(file);
  };
  const addChosen = input => { addAll(input.files); input.value = ""; };
  for (const input of [files, photo]) {
    input.addEventListener("change", () => addChosen(input));
    // Chosen while the page was loading.
    addChosen(input);
  }
  folder.addEventListener("change", () => {
    const images = [...folder.files].filter(file => IMAGES.test(file.name));
    addAll(images.sort((a, b) => a.webkitRelativePath.localeCompare(b.webkitRelativePath, undefined, { numeric: true })));
    folder.value = "";
  });
  upload.addEventListener("submit", event => { event.preventDefault(); addChosen(files); });
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
      // Not twice by a double click.
      if (event.detail > 1) return;
      const response = await fetch(link.href).catch(() => null);
      if (!response?.ok) { toast(_("The service cannot be reached.")); return; }
      addAll([new File([await response.blob()], link.dataset.sample, { type: "image/jpeg" })]);
    });
  }
  document.addEventListener("paste", event => { addAll(event.clipboardData?.files ?? []); });
}
