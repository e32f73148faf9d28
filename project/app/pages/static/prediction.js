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

// The image fills the window; a click, the wheel or the keys + and - zoom, and dragging moves it.
const zoomLink = document.getElementById("zoom");
const showZoom = () => {
  const picture = element("img", { src: zoomLink.href, alt: _("The image"), draggable: false }), dialog = element("dialog", { className: "zoom" });
  const close = element("button", { type: "button", textContent: _("Close"), onclick: () => dialog.close() });
  let scale = 1, x = 0, y = 0, held = null;
  // The point of the window under which the image stays where it is.
  const zoom = (factor, centerX = innerWidth / 2, centerY = innerHeight / 2) => {
    const next = Math.min(8, Math.max(1, scale * factor)), dx = centerX - innerWidth / 2, dy = centerY - innerHeight / 2;
    x = next === 1 ? 0 : dx - (dx - x) * next / scale;
    y = next === 1 ? 0 : dy - (dy - y) * next / scale;
    scale = next;
    place();
  };
  const place = () => {
    picture.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    dialog.classList.toggle("zoomed", scale > 1);
  };
  picture.addEventListener("pointerdown", event => {
    held = { x: event.clientX - x, y: event.clientY - y, isMoved: false };
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", event => {
    if (!held) return;
    held.isMoved ||= Math.hypot(event.clientX - x - held.x, event.clientY - y - held.y) > 4;
    if (scale === 1 || !held.isMoved) return;
    x = event.clientX - held.x;
    y = event.clientY - held.y;
    place();
  });
  picture.addEventListener("pointerup", event => {
    if (held && !held.isMoved) zoom(scale > 1 ? 1 / scale : 2.5, event.clientX, event.clientY);
    held = null;
  });
  dialog.addEventListener("wheel", event => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX, event.clientY); }, { passive: false });
  dialog.addEventListener("keydown", event => {
    if (["+", "=", "-"].includes(event.key) && !event.ctrlKey && !event.metaKey) { event.preventDefault(); zoom(event.key === "-" ? 0.8 : 1.25); }
  });
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  dialog.setAttribute("aria-label", _("The image"));
  dialog.append(picture, close);
  document.body.append(dialog);
  dialog.showModal();
};
zoomLink?.addEventListener("click", event => {
  if (event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  showZoom();
});

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
