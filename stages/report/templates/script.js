"use strict";

// A sound that several queries found is in the page once; the others take it from there.
for (const audio of document.querySelectorAll("audio[data-same-as]")) {
  audio.src = document.getElementById(audio.dataset.sameAs).src;
}

// With scripts on, a small round button stands for each player.
const ICON = '<svg viewBox="0 0 10 10" aria-hidden="true"><path class="start" d="M2 .5 9 5 2 9.5z"/><path class="stop" d="M1 1h8v8H1z"/></svg>';
for (const audio of document.querySelectorAll("audio")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "play";
  button.innerHTML = ICON;
  button.setAttribute("aria-label", audio.getAttribute("aria-label"));
  button.setAttribute("aria-pressed", "false");
  audio.hidden = true;
  audio.after(button);
  const stop = () => { audio.pause(); audio.currentTime = 0; };
  button.addEventListener("click", () => {
    if (!audio.paused) return stop();
    audio.play().catch(() => { audio.hidden = false; button.remove(); });
  });
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio && !other.paused) other.pause();
    button.setAttribute("aria-pressed", "true");
  });
  for (const event of ["pause", "ended"]) {
    audio.addEventListener(event, () => {
      audio.currentTime = 0;
      button.setAttribute("aria-pressed", "false");
      button.style.setProperty("--done", 0);
    });
  }
  audio.addEventListener("timeupdate", () => {
    if (!audio.paused) button.style.setProperty("--done", audio.currentTime / audio.duration || 0);
  });
}

// A link to a folded experiment unfolds it.
const unfold = () => {
  const details = document.getElementById(location.hash.slice(1))?.querySelector(":scope > details");
  if (details) details.open = true;
};
addEventListener("hashchange", unfold);
unfold();

// The heat map tells which caption and which clip meet under the pointer.
for (const image of document.querySelectorAll("img[data-labels]")) {
  const [captions, clips] = JSON.parse(image.dataset.labels);
  const readout = image.closest("figure").querySelector(".readout");
  const [caption, clip] = readout.children;
  const tell = (event) => {
    const box = image.getBoundingClientRect();
    const place = (part, count) => Math.min(count - 1, Math.max(0, Math.floor(part * count)));
    caption.textContent = `“${captions[place((event.clientY - box.top) / box.height, captions.length)]}”`;
    clip.textContent = clips[place((event.clientX - box.left) / box.width, clips.length)];
  };
  caption.textContent = "Point at the picture to see which caption and clip meet there.";
  readout.hidden = false;
  for (const event of ["pointermove", "pointerdown"]) image.addEventListener(event, tell);
}
