// Plays stretches of files: the original between start and stop, or a WebM or cut where the browser cannot play that.

import { address, element } from "./api.js";

const AT_END_S = 0.3;

let playing = null;

export function stop() {
  playing?.close();
}

export class Player {
  constructor(box, corpus, clip, onclose = () => {}) {
    this.box = box;
    this.corpus = corpus;
    this.clip = clip;
    this.onclose = onclose;
    this.unplayable = false; // the original, by this browser
  }

  toggle() {
    if (!this.media) this.open();
    else if (this.media.paused) this.media.play().catch(() => {});
    else this.media.pause();
  }

  // Plays a span, seconds of the file; `clip_id` where the span is a clip: only then there is a preview of it.
  open(span = this.clip) {
    if (playing !== this) stop();
    playing = this;
    this.span = span;
    if (!this.media) this.create();
    if (this.unplayable) this.made();
    else if (this.media.src && this.media.readyState > 0) {
      this.media.currentTime = span.start_s;
      this.media.play().catch(() => {});
    } else {
      this.offset = 0;
      this.load(`${address("/media", this.query(this.clip))}#t=${span.start_s},${span.stop_s}`);
    }
  }

  create() {
    const media = element("video", { controls: true, preload: "auto", playsinline: true, "aria-label": this.clip.file });
    this.media = media;
    if (!this.clip.has_video) media.poster = address("/image", { ...this.query(this.clip), kind: "spectrogram" });
    media.addEventListener("error", () => this.failed());
    media.addEventListener("loadedmetadata", () => {
      if (!this.unplayable && this.clip.has_video && media.videoWidth === 0) this.failed();
      else this.rewind();
    });
    media.addEventListener("play", () => { if (this.media && Math.abs(this.now() - this.span.stop_s) < AT_END_S) this.rewind(); });
    media.addEventListener("playing", () => this.watch());
    this.box.append(media);
  }

  query(clip) {
    return { corpus: this.corpus, clip: clip.clip_id };
  }

  load(source) {
    this.media.src = source;
    this.media.play().catch(() => {});
  }

  // What the server has made of the span: begins at its start.
  made() {
    const { span } = this;
    this.offset = span.start_s;
    if (span.clip_id) this.load(address("/preview", this.query(span)));
    else this.load(address("/cut", { ...this.query(this.clip), start: span.start_s, stop: span.stop_s }));
  }

  now() {
    return this.media.currentTime + this.offset;
  }

  rewind() {
    this.media.currentTime = Math.max(0, this.span.start_s - this.offset);
  }

  // Stops where the span ends, to a frame; who has moved beyond it by the browser's controls plays on.
  watch(before = Infinity) {
    if (!this.media || this.media.paused) return;
    const now = this.now();
    if (before < this.span.stop_s && now >= this.span.stop_s) {
      this.media.pause();
      this.rewind();
    } else requestAnimationFrame(() => this.watch(now));
  }

  failed() {
    if (!this.media?.getAttribute("src")) return;
    if (!this.unplayable) {
      this.unplayable = true;
      this.made();
      return;
    }
    this.close();
    this.box.append(element("div", { class: "none", role: "alert" }, "This clip cannot be played."));
  }

  close() {
    if (this.media) {
      const { media } = this;
      this.media = null;
      media.pause();
      media.removeAttribute("src");
      media.load();
      media.remove();
    }
    if (playing === this) playing = null;
    this.onclose();
  }
}
