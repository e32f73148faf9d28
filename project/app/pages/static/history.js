// The page History: loads more while scrolling, and changes many images at once, with undo.
"use strict";

function endless() {
  const more = document.getElementById("more"), gallery = document.getElementById("gallery");
  if (!more || !gallery) return;
  let loading = false;
  const load = async () => {
    if (loading) return;
    loading = true;
    watcher.disconnect();
    const response = await fetch(more.href);
    if (!response.ok) throw new Error(response.status);
    const text = await response.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    const found = page.getElementById("gallery");
    if (!found) return;
    followCards(found);
    gallery.append(...found.children);
    more.closest("p").replaceWith(...[page.getElementById("more")?.closest("p")].filter(Boolean));
    history.replaceState({ ...history.state, loaded: (history.state?.loaded ?? 0) + 1 }, "");
    endless();
  };
  const tryAgain = async () => {
    await whenReachable();
    await pause(1);
    loading = false;
    watcher.observe(more);
  };
  const watcher = new IntersectionObserver(entries => { if (entries.some(entry => entry.isIntersecting)) load().catch(tryAgain); }, { rootMargin: "600px" });
  watcher.observe(more);
  more.addEventListener("click", event => { event.preventDefault(); load().catch(() => { location = more.href; }); });
}
endless();

// Dates are days of the browser's time zone; their beginnings and ends are sent.
for (const field of document.querySelectorAll("input[data-day]")) {
  const isEnd = field.name === "until", day = field.dataset.day.replace(" ", "T");
  const shifted = (date, days) => { date.setDate(date.getDate() + days); return date; };
  if (day.includes("T")) {
    const shown = isEnd ? shifted(new Date(day), -1) : new Date(day), chip = document.querySelector(`[data-filter="${field.name}"]`);
    const local = [shown.getFullYear(), shown.getMonth() + 1, shown.getDate()].map(part => String(part).padStart(2, "0")).join("-");
    chip.textContent = chip.textContent.replace(field.value, local);
    chip.setAttribute("aria-label", chip.getAttribute("aria-label").replace(field.value, local));
    field.value = local;
  }
  field.form.addEventListener("formdata", event => {
    const [year, month, date] = field.value.split("-").map(Number);
    if (field.value) event.formData.set(field.name, new Date(year, month - 1, date + (isEnd ? 1 : 0)).toISOString());
  });
}
// Filters that are not set are left out of the address.
document.querySelector("form.filters")?.addEventListener("formdata", event => {
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

// Back leads to the same position: as much is loaded again as had been.
if (document.getElementById("gallery")) {
  history.scrollRestoration = "manual";
  const { loaded = 0, position = 0, card = null, top = 0 } = history.state ?? {};
  history.replaceState({ position, card, top }, "");
  const restore = async () => {
    for (let number = 0; number < loaded; number += 1) {
      const more = document.getElementById("more");
      if (!more) break;
      const count = document.getElementById("gallery").children.length;
      more.click();
      while (document.getElementById("gallery").children.length === count && document.body.contains(more)) await pause(0.05);
    }
    scrollTo(0, position);
    // Cards that were not shown yet have an estimated height, so pixels alone lead elsewhere.
    const shown = card && document.querySelector(`.card[data-id="${CSS.escape(card)}"]`);
    for (let attempt = 0; shown && attempt < 5; attempt += 1) {
      scrollBy(0, shown.getBoundingClientRect().top - top);
      await new Promise(requestAnimationFrame);
    }
  };
  if (position) restore();
  addEventListener("pagehide", () => {
    const first = [...document.querySelectorAll(".card")].find(one => one.getBoundingClientRect().bottom > 0);
    history.replaceState({ ...history.state, position: scrollY, card: first?.dataset.id, top: first?.getBoundingClientRect().top }, "");
  });
}

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
    if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
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
    const more = document.getElementById("more")?.closest("p");
    if (action === "delete") {
      for (const card of affected) card.hidden = true;
      // The images that would follow are deleted as well.
      if (isAll && more) more.hidden = true;
    }
    const bringBack = () => {
      for (const card of affected) card.hidden = false;
      if (more) more.hidden = false;
    };
    undoable(NAMES[action], async () => {
      if (action === "delete") for (const id of ids) unconfirmed.add(id);
      try {
        await sendAll(form, [...ids]);
        for (const id of ids) unconfirmed.remove(id);
        if (action === "delete" && !isAll) for (const card of cards) card.remove();
        else if (action !== "teach") location.reload();
      } catch (error) {
        for (const id of ids) unconfirmed.remove(id);
        bringBack();
        toast(_("Not saved: %(reason)s", { reason: error.message }));
      }
    }, bringBack);
  });

  // Selected images in batches, as the service accepts them; all that match in one request, so that leaving the page does not end it.
  async function sendAll(form, ids) {
    let done = 0;
    const progress = toast(_("In progress…"));
    try {
      do {
        if (ids.length) {
          form.delete("ids");
          for (const id of ids.splice(0, AT_ONCE_CHANGED)) form.append("ids", id);
        }
        // The form's own property is the buttons that are called action.
        const response = await fetch(chosen.getAttribute("action"), { method: "POST", body: form, keepalive: ids.length === 0, headers: { ...OWN, Accept: "application/json" } })
          .catch(() => { throw new Error(_("The service cannot be reached.")); });
        const answer = await response.json().catch(() => ({}));
        if (!response.ok) throw new Error(detailOf(answer) ?? _("The service responded with %(status)s.", { status: response.status }));
        done += answer.changed;
        progress.textContent = _("Done: %(count)s", { count: done });
      } while (ids.length);
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

// --- Deletions: of the selection, and of the prediction whose page was left. ---

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
