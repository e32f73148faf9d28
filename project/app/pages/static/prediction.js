// The page of one prediction: its result, its heat map, similar images, and its deletion.
"use strict";

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
  const strength = document.getElementById("strength");
  const show = () => { overlay.style.opacity = strength.value / 100; };
  strength.addEventListener("input", show);
  // Once both are there, so that nothing flickers.
  overlay.addEventListener("load", () => {
    const stack = element("div", { className: "stack-of-images" });
    heatMap.replaceWith(stack);
    stack.append(heatMap, overlay);
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
