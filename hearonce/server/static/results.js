// A column of results: cards in a grid, the next ones loaded when the end comes near.

import { address, clock, element, post } from "./api.js";
import { Player } from "./player.js";

const PAGE = 48;

export class Column {
  constructor(root, handlers) {
    this.root = root;
    this.handlers = handlers;
    this.cards = [];
    this.observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.more();
    }, { rootMargin: "800px" });
    this.far = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const card = entry.target.card;
        if (!entry.isIntersecting && card.player.media) card.player.close();
      }
    }, { rootMargin: "1200px" });
  }

  clear() {
    if (this.abort) this.abort.abort();
    this.observer.disconnect();
    this.far.disconnect();
    for (const card of this.cards) card.player.close();
    this.cards = [];
    this.root.replaceChildren();
    this.answer = null;
  }

  // Shows the first page of a request to /api/search; gives the answer.
  async show(request, title) {
    this.clear();
    this.request = request;
    this.abort = new AbortController();
    const answer = await post("/api/search", { ...request, offset: 0, limit: PAGE }, this.abort.signal);
    this.grid = element("div", { class: "grid" });
    this.end = element("div", { class: "more" });
    if (title) this.root.append(element("h2", {}, title));
    this.root.append(this.grid, this.end);
    this.answer = answer;
    this.add(answer);
    return answer;
  }

  add(answer) {
    for (const result of answer.results) {
      const card = new Card(answer.corpus, result, this.handlers);
      this.cards.push(card);
      this.grid.append(card.root);
      this.far.observe(card.root);
    }
    this.done = answer.results.length < PAGE;
    this.end.textContent = this.done && this.cards.length > PAGE ? `${this.cards.length} results` : "";
    if (!this.done) this.observer.observe(this.end);
  }

  async more() {
    if (this.loading || this.done || !this.answer) return;
    this.loading = true;
    this.end.textContent = "Loading…";
    const { signal } = this.abort;
    try {
      const answer = await post("/api/search", { ...this.request, offset: this.cards.length, limit: PAGE }, signal);
      this.observer.unobserve(this.end);
      this.add(answer);
    } catch (error) {
      if (error.name !== "AbortError") {
        this.done = true;
        this.end.textContent = error.message;
      }
    } finally {
      this.loading = false;
    }
  }
}

class Card {
  constructor(corpus, result, handlers) {
    this.corpus = corpus;
    this.result = result;
    const box = element("div", { class: "media" });
    this.box = box;
    this.player = new Player(box, corpus, result, () => this.cover.removeAttribute("hidden"));
    this.cover = this.covered();
    box.append(this.cover, element("span", { class: "rank", "aria-hidden": "true" }, String(result.rank)));
    this.body = element("div", { class: "body" });
    const captions = result.captions.length ? result.captions : ["(no caption)"];
    this.body.append(
      element("p", { class: "caption", title: captions.join("\n") }, captions.join(" / ")),
      element("p", { class: "meta" }, element("span", { class: "score" }, result.score.toFixed(3)), words(result), ` · ${result.file} · ${clock(result.start_s)}–${clock(result.stop_s)}`),
    );
    const tags = [
      ...result.moments.map((moment) => element("button", {
        type: "button", class: "tag", title: `score ${moment.score.toFixed(3)}`,
        onclick: () => this.play(moment.start_s, moment.stop_s),
      }, `${clock(moment.start_s)}–${clock(moment.stop_s)}`)),
      ...result.subsets.map((name) => element("span", { class: "tag" }, name)),
    ];
    if (tags.length) this.body.append(element("div", { class: "tags" }, ...tags));
    this.body.append(element("div", { class: "actions" },
      element("button", { type: "button", class: "quiet similar", onclick: () => handlers.similar(result.clip_id) }, "More like this"),
      result.missing ? null : element("button", { type: "button", class: "quiet trimmer", "aria-expanded": "false", onclick: () => this.trim() }, "Trim"),
    ));
    this.root = element("article", { class: "card", tabindex: "0", "data-clip": result.clip_id, "aria-label": `${result.rank}. ${captions[0]}` }, box, this.body);
    this.root.card = this;
  }

  covered() {
    const { result, corpus } = this;
    if (result.missing) return element("div", { class: "none" }, "File not found");
    const kind = result.has_video ? "frame" : "waveform";
    const image = element("img", { src: address("/image", { corpus, clip: result.clip_id, kind }), loading: "lazy", decoding: "async", alt: "", class: kind === "frame" ? null : "wave" });
    image.addEventListener("error", () => image.remove());
    const label = `Play ${result.captions[0] || result.file}`;
    return element("div", {}, image, element("button", { type: "button", class: "play", "aria-label": label, tabindex: "-1", onclick: () => this.play() }, element("span", { "aria-hidden": "true" }, "▶")));
  }

  play(start, stop) {
    if (this.result.missing) return;
    if (start === undefined && this.player.media) {
      this.player.toggle();
      return;
    }
    this.cover.setAttribute("hidden", "");
    this.player.open(start, stop);
  }

  // Two handles around the clip; exactly that cut can be downloaded.
  trim() {
    const button = this.body.querySelector(".trimmer");
    if (this.trimming) {
      this.trimming.remove();
      this.trimming = null;
      button.setAttribute("aria-expanded", "false");
      return;
    }
    const { start_s, stop_s, clip_id } = this.result;
    const around = Math.max(2, stop_s - start_s);
    const [least, most] = [Math.max(0, start_s - around), stop_s + around];
    const range = (value, name) => element("input", { type: "range", min: least, max: most, step: "0.01", value, "aria-label": name });
    const [from, to] = [range(start_s, "Start"), range(stop_s, "End")];
    const [fromText, toText] = [element("output"), element("output")];
    const link = element("a", { class: "download", download: "" }, "Download cut");
    const update = (moved) => {
      if (Number(from.value) > Number(to.value) - 0.05) {
        if (moved === to) from.value = Math.max(least, Number(to.value) - 0.05);
        else to.value = Math.min(most, Number(from.value) + 0.05);
      }
      const [start, stop] = [Number(from.value), Number(to.value)];
      fromText.textContent = clock(start);
      toText.textContent = clock(stop);
      link.href = address("/cut", { corpus: this.corpus, clip: clip_id, start, stop });
      if (moved) this.play(start, stop);
    };
    for (const handle of [from, to]) {
      handle.addEventListener("input", () => update(null));
      handle.addEventListener("change", () => update(handle));
      handle.addEventListener("keydown", (event) => event.stopPropagation());
    }
    this.trimming = element("div", { class: "trim" }, element("label", {}, "Start", from, fromText), element("label", {}, "End", to, toText), link);
    this.body.append(this.trimming);
    button.setAttribute("aria-expanded", "true");
    update(null);
  }
}

function words(result) {
  if (result.score_words === null || result.score_embedding === null) return "";
  return ` (embedding ${result.score_embedding.toFixed(3)}, words ${result.score_words.toFixed(2)})`;
}
