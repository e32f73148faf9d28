// The page Review: one key or click for each image, or for all that are selected, with undo.
"use strict";

const list = document.getElementById("reviews");
if (list) {
  const bar = document.getElementById("selection"), remaining = document.getElementById("remaining");
  const cards = [...list.querySelectorAll(".review")], other = list.dataset.other;
  const done = [];   // reviews, the last one at the end: { cards }
  let anchor = cards[0];
  list.classList.add("live");

  const isOpen = card => !card.classList.contains("done");
  const current = () => document.activeElement?.closest?.(".review") ?? null;
  const selected = () => cards.filter(card => card.classList.contains("selected"));

  const focus = card => {
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  };
  for (const card of cards) {
    card.tabIndex = 0;
    card.querySelectorAll(".choice").forEach((button, index, all) => {
      button.prepend(element("kbd", { textContent: index + 1 < all.length ? index + 1 : 0 }), " ");
    });
  }

  const select = (card, on) => {
    card.classList.toggle("selected", on);
    show();
  };
  const selectTo = card => {
    const [from, to] = [cards.indexOf(anchor), cards.indexOf(card)].sort((a, b) => a - b);
    cards.slice(from, to + 1).filter(isOpen).forEach(one => one.classList.add("selected"));
    show();
  };
  const selectGroup = card => {
    cards.filter(one => isOpen(one) && one.dataset.group === card.dataset.group).forEach(one => one.classList.add("selected"));
    show();
  };
  const clear = () => { selected().forEach(card => card.classList.remove("selected")); show(); };

  // What applies to all that are selected.
  const input = element("input", { maxLength: 255, autocomplete: "off", placeholder: _("label") });
  input.setAttribute("aria-label", _("Label for all that are selected"));
  const apply = element("button", { type: "submit", className: "primary" });
  const isNew = element("input", { type: "checkbox" });
  const askNew = element("label", {}, isNew, " ", _("If it is new, add it to the labels"));
  const form = element("form", { className: "inline" }, element("strong"), element("button", {
    type: "button", textContent: _("Confirm each"), onclick: () => review(selected(), () => null),
  }), input, askNew, apply, element("button", { type: "button", textContent: _("Clear"), onclick: clear }));
  form.addEventListener("submit", event => {
    event.preventDefault();
    const text = input.value, chosen = selected();
    input.value = "";
    if (text.trim()) review(chosen, card => written(text, card), isNew.checked);
  });
  bar.append(form);
  function show() {
    const count = selected().length;
    bar.hidden = !count;
    form.firstChild.textContent = _("%(count)s selected", { count });
    apply.textContent = _("Apply to all %(count)s", { count });
    askNew.hidden = !selected().some(card => "custom" in card.dataset);
    const first = selected()[0]?.querySelector("[data-labels]");
    if (first) { input.setAttribute("list", first.getAttribute("list")); input.dataset.labels = first.dataset.labels; }
    else delete input.dataset.labels;
  }
  suggest(input);

  // A label as the model writes it; custom models have the labels that people gave them.
  const written = (text, card) => "custom" in card.dataset ? text.trim() : labelsByName.get(text.trim()) ?? text.trim().replaceAll(" ", "_");

  addEventListener("beforeunload", event => { if (unsent) event.preventDefault(); });
  // One request after the other: an undo must not arrive before its review.
  let sending = Promise.resolve(), unsent = 0;
  const countUnsent = by => { unsent += by; list.ariaBusy = unsent > 0; };
  const send = body => {
    countUnsent(1);
    sending = sending.catch(() => {}).then(() => post(body)).finally(() => countUnsent(-1));
    return sending;
  };
  async function post(body) {
    const response = await fetch(`${root}/predictions/review`, {
      method: "POST", headers: { ...OWN, "Content-Type": "application/json" }, body: JSON.stringify(body),
    }).catch(() => null);
    if (response?.ok) return response.status === 204 ? null : response.json();
    const answer = await response?.json().catch(() => null);
    throw new Error(detailOf(answer ?? {}) ?? _("The service cannot be reached."));
  }

  // labelOf: the label for a card; null confirms its own. isNew: custom models get it if they lack it.
  function review(chosen, labelOf, isNew = false) {
    const open = chosen.filter(isOpen);
    if (!open.length) return;
    const action = { cards: new Set(open) };
    done.push(action);
    const parts = new Map();
    for (const card of open) {
      const label = labelOf(card), sampled = "sampled" in card.dataset;
      mark(card, label ?? card.querySelector(".choice").value, action);
      // Reviews of the random sample are sent apart; models may write a label in different ways.
      const part = JSON.stringify([label, sampled]);
      if (!parts.has(part)) parts.set(part, { label, sampled, cards: [] });
      parts.get(part).cards.push(card);
    }
    clear();
    next(open.at(-1));
    for (const { label, sampled, cards } of parts.values()) save(cards, label, sampled, action, isNew);
  }

  async function save(part, label, sampled, action, isNew) {
    const ids = part.map(card => Number(card.dataset.id));
    try {
      const answer = await send({ ids, sampled, ...(label === null ? { verdict: "confirmed" } : { verdict: "corrected", label, new_label: isNew }) });
      const [skipped] = answer?.skipped ?? [], [unlearned] = answer?.not_learned ?? [];
      if (skipped) giveBack(part.filter(card => answer.skipped.some(({ id }) => id === Number(card.dataset.id))), action, messageOf(skipped.error.message));
      else if (unlearned) toast(messageOf(unlearned.error.message));
    } catch (error) {
      giveBack(part, action, error.message);
    }
  }
  function giveBack(part, action, reason) {
    toast(_("Not saved: %(reason)s", { reason }));
    // Unless it has been undone meanwhile.
    if (done.includes(action)) part.forEach(reopen);
    for (const card of part) action.cards.delete(card);
  }

  function mark(card, label, action) {
    const own = card.querySelector(".choice").value === label, verdict = card.querySelector(".verdict");
    card.classList.add("done");
    card.classList.remove("selected");
    verdict.hidden = false;
    verdict.replaceChildren(own ? "✓ " : "→ ", element("strong", { textContent: label === other ? _("none of these") : words(label) }), " ",
      element("button", { type: "button", className: "quiet", textContent: _("Undo"), onclick: () => undo(action) }));
    count(-1);
  }
  function reopen(card) {
    card.classList.remove("done");
    card.querySelector(".verdict").hidden = true;
    count(1);
  }
  function count(by) {
    if (remaining) remaining.textContent = Math.max(0, Number(remaining.textContent) + by);
  }

  async function undo(action = done.at(-1)) {
    const position = done.indexOf(action);
    if (position < 0) return;
    done.splice(position, 1);
    const undone = [...action.cards];
    if (!undone.length) return;
    try {
      await send({ ids: undone.map(card => Number(card.dataset.id)), verdict: null });
      undone.forEach(reopen);
      anchor = undone[0];
      focus(anchor);
    } catch (error) {
      done.push(action);
      toast(_("Not undone: %(reason)s", { reason: error.message }));
    }
  }

  function next(after) {
    const position = cards.indexOf(after);
    const card = [...cards.slice(position + 1), ...cards.slice(0, position)].find(isOpen);
    if (card) { anchor = card; focus(card); }
    else document.getElementById("next").focus();
  }

  // Those that are selected, if the card is one of them.
  const meant = card => card.classList.contains("selected") ? selected() : [card];

  list.addEventListener("submit", event => {
    event.preventDefault();
    const card = event.target.closest(".review"), field = card.querySelector("[name=text]"), text = field.value;
    const isButton = event.submitter?.name === "label";
    if (!isButton && !text.trim()) return;
    const chosen = meant(card);
    const isNew = card.querySelector("[name=new_label]")?.checked;
    field.value = "";
    card.querySelector("details").open = false;
    review(chosen, isButton ? () => event.submitter.value : one => written(text, one), isNew && !isButton);
  });
  list.addEventListener("click", event => {
    const card = event.target.closest(".review");
    if (!card) return;
    if (event.target.closest("[data-select-group]")) { selectGroup(card); return; }
    const onImage = event.target.closest("a");
    if (event.shiftKey) { event.preventDefault(); selectTo(card); }
    else if (onImage && isOpen(card) && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      select(card, !card.classList.contains("selected"));
    } else return;
    anchor = card;
    focus(card);
  });
  list.addEventListener("focusin", event => {
    // A range starts at the card that was focused by hand.
    if (!event.target.matches(".review")) return;
    if (!isShift) anchor = event.target;
  });
  let isShift = false;
  document.addEventListener("keyup", event => { isShift = event.shiftKey; });
  document.addEventListener("mousedown", event => { isShift = event.shiftKey; }, true);

  document.addEventListener("keydown", event => {
    isShift = event.shiftKey;
    const writes = event.target.closest("input, select, textarea, dialog[open]");
    if (event.key === "Escape") { if (writes) current() ? focus(current()) : writes.blur(); else clear(); return; }
    if (writes || event.altKey) return;
    if (event.key.toLowerCase() === "z") { event.preventDefault(); undo(); return; }
    if (event.ctrlKey || event.metaKey) return;
    const card = current() ?? (document.activeElement === document.body ? cards.find(isOpen) : null);
    if (!card) return;
    const digit = /^[0-5]$/.test(event.key) ? Number(event.key) : null;
    const choices = card.querySelectorAll(".choice");
    if (digit !== null && isOpen(card)) {
      const choice = digit ? choices[digit - 1] : choices[choices.length - 1];
      if (choice && (digit === 0 || digit < choices.length)) review(meant(card), () => choice.value);
    } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const neighbour = cards[cards.indexOf(card) + (event.key === "ArrowRight" ? 1 : -1)];
      if (!neighbour) return;
      if (event.shiftKey) selectTo(neighbour);
      else anchor = neighbour;
      focus(neighbour);
    } else if (event.key === " " && event.target === card && isOpen(card)) {
      select(card, !card.classList.contains("selected"));
    } else if (event.key.toLowerCase() === "g" && isOpen(card)) {
      selectGroup(card);
    } else if (event.key.toLowerCase() === "t" && isOpen(card)) {
      card.querySelector("details").open = true;
      card.querySelector("[name=text]").focus();
    } else return;
    event.preventDefault();
  });
  if (cards[0]) focus(cards[0]);
}
