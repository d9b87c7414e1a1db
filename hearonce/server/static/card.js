// One result: image and player, score, captions, file, windows and subsets, what can be done with it.

import { address, clock, element } from "./api.js";
import { Player } from "./player.js";
import { Trim } from "./trim.js";

const MOST_CHIPS = 8;
const LEVELS = 4;

export class Card {
  constructor(corpus, result, handlers) {
    this.corpus = corpus;
    this.result = result;
    this.handlers = handlers;
    this.box = element("div", { class: "media" });
    this.player = new Player(this.box, corpus, result, () => this.cover.removeAttribute("hidden"));
    this.cover = this.covered();
    this.box.append(this.cover);
    const captions = result.captions.length ? result.captions : ["(no caption)"];
    this.body = element("div", { class: "body" },
      element("p", { class: "caption", title: captions.join("\n") }, captions.join(" / ")),
      element("p", { class: "file", title: result.file }, result.file),
      this.moments(),
      element("div", { class: "actions" },
        element("button", { type: "button", class: "quiet similar", onclick: () => handlers.similar(result.clip_id) }, "More like this"),
        result.missing ? null : element("button", { type: "button", class: "quiet trimmer", "aria-expanded": "false", onclick: () => this.trim() }, "Trim"),
        element("span", { class: "spring" }),
        ...result.subsets.map((name) => element("button", { type: "button", class: "tag", title: `Search subset ${name} only`, onclick: () => handlers.subset(name) }, name))));
    this.root = element("article", { class: "card", tabindex: "0", "data-clip": result.clip_id, "aria-label": `${result.rank}. ${captions[0]}` }, this.box, this.body);
    this.root.card = this;
  }

  covered() {
    const { result, corpus } = this;
    const badges = [
      element("span", { class: "badge rank", "aria-hidden": "true" }, String(result.rank)),
      element("span", { class: "badge score", title: parts(result) }, element("span", { class: "hidden" }, "score "), shown(result.score)),
      element("span", { class: "badge time" }, `${clock(result.start_s)}–${clock(result.stop_s)}`),
    ];
    if (result.missing) return element("div", { class: "cover" }, element("div", { class: "none" }, "File not found"), ...badges);
    const kind = result.has_video ? "frame" : "waveform";
    const image = element("img", { src: address("/image", { corpus, clip: result.clip_id, kind }), loading: "lazy", decoding: "async", alt: "", class: kind });
    image.addEventListener("error", () => image.remove());
    const play = element("button", { type: "button", class: "play", tabindex: "-1", "aria-label": `Play ${result.captions[0] || result.file}`, onclick: () => this.play() },
      element("span", { "aria-hidden": "true" }, "▶"));
    return element("div", { class: "cover" }, image, play, ...badges);
  }

  // The windows of one file that are this result: darker ones score higher; beyond some, the best ones in order of time.
  moments() {
    const { moments } = this.result;
    if (!moments.length) return null;
    const kept = [...moments].sort((a, b) => b.score - a.score).slice(0, MOST_CHIPS);
    const [high, low] = [kept[0].score, kept.at(-1).score];
    const level = (score) => Math.round((LEVELS * (score - low)) / (high - low || 1));
    const chip = (moment) => element("button", {
      type: "button", class: `tag moment level-${level(moment.score)}`, title: `${clock(moment.start_s)}–${clock(moment.stop_s)}, score ${shown(moment.score)}`,
      "aria-label": `Play from ${clock(moment.start_s)}, score ${shown(moment.score)}`, onclick: () => this.play(moment),
    }, clock(moment.start_s, 0));
    const rest = moments.length - kept.length;
    return element("div", { class: "tags" }, ...moments.filter((one) => kept.includes(one)).map(chip), rest ? element("span", { class: "quiet-text" }, `+${rest}`) : null);
  }

  // The rank of the same clip in the other column.
  compare(rank, encoder) {
    this.badge?.remove();
    this.badge = null;
    if (!encoder) return;
    const text = rank ? `beside: ${rank}` : "beside: –";
    const title = rank ? `Rank ${rank} by ${encoder}` : `Not among the results shown of ${encoder}`;
    this.badge = element("span", { class: "quiet-text beside", title }, text);
    this.body.querySelector(".actions .spring").after(this.badge);
  }

  play(span) {
    if (this.result.missing) return;
    if (span === undefined && this.player.media) {
      this.player.toggle();
      return;
    }
    this.cover.setAttribute("hidden", "");
    this.player.open(span);
  }

  trim() {
    const button = this.body.querySelector(".trimmer");
    if (this.trimming) {
      this.trimming.root.remove();
      this.trimming = null;
    } else {
      this.trimming = new Trim(this.corpus, this.result, (span) => this.play(span));
      this.body.append(this.trimming.root);
    }
    button.setAttribute("aria-expanded", String(Boolean(this.trimming)));
  }
}

function shown(score) {
  return score === null ? "–" : score.toFixed(3);
}

function parts(result) {
  if (result.score_words === null) return "Cosine of the embeddings";
  return `Embedding ${shown(result.score_embedding)}, words ${shown(result.score_words)}`;
}
