// A column of results: cards in a grid, the next ones loaded when the end comes near.

import { element, post } from "./api.js";
import { Card } from "./card.js";

const PAGE = 48;
const MOST = 192;

export class Column {
  constructor(root, handlers) {
    this.root = root;
    this.handlers = handlers;
    this.cards = [];
    this.ranks = new Map();
    this.observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.more();
    }, { rootMargin: "800px" });
    this.far = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) if (!isIntersecting && target.card.player.media) target.card.player.close();
    }, { rootMargin: "1200px" });
  }

  clear() {
    this.abort?.abort();
    this.observer.disconnect();
    this.far.disconnect();
    for (const card of this.cards) if (card.player.media) card.player.close();
    this.cards = [];
    this.ranks.clear();
    this.root.replaceChildren();
    this.root.removeAttribute("aria-busy");
    this.answer = null;
  }

  // Shows the first results of a request to /api/search; gives the answer. The results before stay until it comes.
  async show(request, title, shown = 0) {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.observer.disconnect();
    this.root.setAttribute("aria-busy", "true");
    const limit = Math.min(MOST, Math.max(1, Math.ceil(shown / PAGE)) * PAGE);
    let answer;
    try {
      answer = await post("/api/search", { ...request, offset: 0, limit }, abort.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.clear();
      throw error;
    }
    this.clear();
    this.abort = new AbortController();
    this.request = request;
    this.grid = element("div", { class: "grid" });
    this.end = element("div", { class: "more" });
    if (title) this.root.append(element("h2", {}, title));
    this.root.append(this.grid, this.end);
    this.answer = answer;
    this.add(answer, limit);
    return answer;
  }

  // Shows why there are no results.
  fail(message, title) {
    this.clear();
    this.root.append(element("h2", {}, title), element("p", { class: "failed", role: "alert" }, message));
  }

  add(answer, limit = PAGE) {
    const shown = new Set(this.cards.map((card) => card.result.clip_id));  // beyond an index places may shift
    for (const result of answer.results) {
      if (shown.has(result.clip_id)) continue;
      const card = new Card(answer.corpus, result, this.handlers);
      this.cards.push(card);
      this.grid.append(card.root);
      this.far.observe(card.root);
      for (const { clip_id } of [result, ...result.moments]) if (!this.ranks.has(clip_id)) this.ranks.set(clip_id, result.rank);
    }
    this.done = answer.results.length < limit;
    this.end.textContent = this.done && this.cards.length > PAGE ? `${this.cards.length} results` : "";
    if (!this.done) this.observer.observe(this.end);
    this.handlers.added?.();
  }

  // Tells each card its rank in another column; none where there is no other.
  compare(other, encoder) {
    for (const card of this.cards) card.compare(other?.ranks.get(card.result.clip_id), encoder);
  }

  async more() {
    if (this.loading || this.done || !this.answer) return;
    const { abort } = this;
    this.loading = true;
    this.end.textContent = "Loading…";
    try {
      const answer = await post("/api/search", { ...this.request, offset: this.cards.length, limit: PAGE }, abort.signal);
      if (abort.signal.aborted) return;
      this.observer.unobserve(this.end);
      this.add(answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.observer.unobserve(this.end);
      const again = element("button", { type: "button", onclick: () => this.more() }, "Try again");
      this.end.replaceChildren(`${error.message} `, again);
    } finally {
      this.loading = false;
    }
  }
}
