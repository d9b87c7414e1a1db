// Plays clips: the original file between start and stop, or its preview where the browser cannot play that.

import { address, element } from "./api.js";

let playing = null;

export function stop() {
  if (playing) playing.close();
}

export class Player {
  constructor(box, corpus, clip, onclose = () => {}) {
    this.box = box;
    this.corpus = corpus;
    this.clip = clip;
    this.onclose = onclose;
    this.start = clip.start_s;
    this.stop = clip.stop_s;
  }

  toggle() {
    if (!this.media) this.open();
    else if (this.media.paused) this.media.play();
    else this.media.pause();
  }

  // Plays from start to stop, seconds of the file.
  open(start = this.clip.start_s, stopAt = this.clip.stop_s) {
    stop_others(this);
    this.start = start;
    this.stop = stopAt;
    if (this.media) {
      this.seek(start);
      this.media.play().catch(() => {});
      return;
    }
    this.preview = false;
    const media = element("video", { controls: true, preload: "auto", playsinline: true });
    media.setAttribute("aria-label", `${this.clip.file} ${start.toFixed(1)} to ${stopAt.toFixed(1)} s`);
    this.media = media;
    media.addEventListener("error", () => this.fallback());
    media.addEventListener("loadedmetadata", () => {
      if (!this.preview && this.clip.has_video && media.videoWidth === 0) this.fallback();
      else if (!this.preview) this.seek(this.start);
    });
    media.addEventListener("timeupdate", () => {
      if (!this.preview && media.currentTime >= this.stop && !media.paused) {
        media.pause();
        this.seek(this.start);
      }
    });
    if (!this.clip.has_video) media.poster = address("/image", { corpus: this.corpus, clip: this.clip.clip_id, kind: "spectrogram" });
    media.src = `${address("/media", { corpus: this.corpus, clip: this.clip.clip_id })}#t=${start},${stopAt}`;
    this.box.append(media);
    media.play().catch(() => {});
    playing = this;
  }

  seek(seconds) {
    if (this.media && this.media.readyState > 0) this.media.currentTime = Math.max(0, seconds - (this.preview ? this.clip.start_s : 0));
  }

  fallback() {
    if (this.preview) {
      this.close();
      this.box.append(element("div", { class: "none", role: "alert" }, "This clip cannot be played."));
      return;
    }
    this.preview = true;
    this.media.src = address("/preview", { corpus: this.corpus, clip: this.clip.clip_id });
    this.media.play().catch(() => {});
  }

  close() {
    if (this.media) {
      this.media.removeAttribute("src");
      this.media.load();
      this.media.remove();
      this.media = null;
    }
    if (playing === this) playing = null;
    this.onclose();
  }
}

function stop_others(player) {
  if (playing && playing !== player) playing.close();
  playing = player;
}
