// Two handles on a line of time around a clip; exactly that cut is played and can be downloaded.

import { address, clock, element, get } from "./api.js";

const LEAST_S = 0.05;

export class Trim {
  constructor(corpus, clip, play) {
    this.corpus = corpus;
    this.clip = clip;
    const { start_s, stop_s } = clip;
    const around = Math.max(2, stop_s - start_s);
    this.first = Math.max(0, start_s - around);
    this.last = stop_s + around;
    this.from = this.handle(start_s, "Start of the cut, seconds");
    this.to = this.handle(stop_s, "End of the cut, seconds");
    this.chosen = element("div", { class: "chosen" });
    this.wave = element("img", { src: address("/image", { corpus, clip: clip.clip_id, kind: "waveform" }), alt: "", draggable: "false" });
    this.wave.addEventListener("error", () => this.wave.remove());
    this.times = element("output", { class: "times" });
    this.link = element("a", { class: "download", download: "" }, "Download cut");
    const again = element("button", { type: "button", class: "quiet", onclick: () => play(this.span()) }, "Play cut");
    this.root = element("div", { class: "trim", role: "group", "aria-label": "Trim" },
      element("div", { class: "timeline" }, this.wave, this.chosen, this.from, this.to),
      this.times, element("div", { class: "actions" }, again, this.link));
    for (const handle of [this.from, this.to]) {
      handle.addEventListener("input", () => this.update(handle));
      handle.addEventListener("change", () => play(this.span()));
      handle.addEventListener("keydown", (event) => { if (event.key !== "Escape") event.stopPropagation(); });
    }
    this.update(null);
    this.bound();
  }

  handle(value, name) {
    return element("input", { type: "range", min: this.first, max: this.last, step: "0.01", value, "aria-label": name });
  }

  // The line ends where the file does.
  async bound() {
    let known;
    try {
      known = await get("/api/clip", { corpus: this.corpus, clip: this.clip.clip_id });
    } catch {
      return; // the cut of a longer stretch is refused by the server, which says why
    }
    if (known.duration_s === null || known.duration_s >= this.last) return;
    this.last = Math.max(known.duration_s, this.clip.stop_s);
    this.from.max = this.last;
    this.to.max = this.last;
    this.update(null);
  }

  span() {
    return { start_s: Number(this.from.value), stop_s: Number(this.to.value) };
  }

  update(moved) {
    let { start_s, stop_s } = this.span();
    if (stop_s - start_s < LEAST_S) {
      if (moved === this.from) this.from.value = stop_s - LEAST_S;
      else this.to.value = start_s + LEAST_S;
      ({ start_s, stop_s } = this.span());
    }
    const share = (seconds) => `${(100 * (seconds - this.first)) / (this.last - this.first)}%`;
    this.chosen.style.left = share(start_s);
    this.chosen.style.right = share(this.last + this.first - stop_s);
    this.wave.style.left = share(this.clip.start_s);
    this.wave.style.width = share(this.first + this.clip.stop_s - this.clip.start_s);
    this.times.textContent = `${clock(start_s, 2)} – ${clock(stop_s, 2)} (${(stop_s - start_s).toFixed(2)} s)`;
    for (const [handle, seconds] of [[this.from, start_s], [this.to, stop_s]]) handle.setAttribute("aria-valuetext", clock(seconds, 2));
    this.link.href = address("/cut", { corpus: this.corpus, clip: this.clip.clip_id, start: start_s, stop: stop_s });
  }
}
