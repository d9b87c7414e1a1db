// The map of a corpus: a scatter on a canvas; hover plays, a lasso selects.

import { address, element, get } from "./api.js";

const MARGIN = 24;
const REACH = 10;

export class ClipMap {
  constructor(section, onselect, handlers) {
    this.handlers = handlers;
    this.section = section;
    this.canvas = section.querySelector("canvas");
    this.card = section.querySelector("#map-card");
    this.text = section.querySelector("#map-text");
    this.onselect = onselect;
    this.selected = new Set();
    this.found = new Set();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.end());
    this.canvas.addEventListener("pointerleave", () => { if (!this.pinned) this.hover(null); });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") this.unpin(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  async load(corpus, encoder) {
    if (this.corpus === corpus && this.encoder === encoder && this.points) return;
    this.points = null;
    this.select(new Set());
    this.text.textContent = "Loading the map…";
    const points = await get("/api/map", { corpus, encoder });
    this.corpus = corpus;
    this.encoder = encoder;
    this.points = points;
    this.unpin();
    this.number = new Map(points.ids.map((id, row) => [id, row]));
    this.say();
    this.draw();
  }

  // Says why there is no map.
  fail(message) {
    this.points = null;
    this.unpin();
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.text.textContent = message;
  }

  unpin() {
    this.pinned = false;
    this.hover(null);
  }

  say() {
    const chosen = this.selected.size ? ` · ${this.selected.size} selected` : " · point at a clip to play it, click to keep it, drag around clips to select them";
    const stale = this.points.command ? ` · ${this.points.command}` : "";
    this.text.textContent = `${this.points.ids.length} clips by ${this.encoder} (${this.points.method})${chosen}${stale}`;
  }

  // Marks the clips of the current results.
  mark(ids) {
    this.found = new Set(ids);
    this.draw();
  }

  select(ids) {
    this.selected = ids;
    this.onselect([...ids]);
    if (this.points) this.say();
  }

  place() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    const { x, y } = this.points;
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < x.length; i += 1) {
      x0 = Math.min(x0, x[i]); x1 = Math.max(x1, x[i]); y0 = Math.min(y0, y[i]); y1 = Math.max(y1, y[i]);
    }
    const scale = Math.min((box.width - 2 * MARGIN) / (x1 - x0 || 1), (box.height - 2 * MARGIN) / (y1 - y0 || 1));
    this.px = x.map((value) => box.width / 2 + (value - (x0 + x1) / 2) * scale);
    this.py = y.map((value) => box.height / 2 - (value - (y0 + y1) / 2) * scale);
    this.cells = new Map();
    for (let i = 0; i < x.length; i += 1) {
      const key = `${Math.floor(this.px[i] / REACH)},${Math.floor(this.py[i] / REACH)}`;
      if (!this.cells.has(key)) this.cells.set(key, []);
      this.cells.get(key).push(i);
    }
    return ratio;
  }

  draw() {
    if (!this.points || this.section.hidden) return;
    const ratio = this.place();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const radius = this.px.length > 5000 ? 1.5 : 3.5;
    const dot = (row, size) => { context.beginPath(); context.arc(this.px[row], this.py[row], size, 0, 7); context.fill(); };
    context.fillStyle = colour("--quiet");
    context.globalAlpha = 0.6;
    if (this.px.length > 20000) for (let i = 0; i < this.px.length; i += 1) context.fillRect(this.px[i] - 1, this.py[i] - 1, 2, 2);
    else for (let i = 0; i < this.px.length; i += 1) dot(i, radius);
    context.globalAlpha = 1;
    context.fillStyle = colour("--accent");
    for (const id of this.found) if (this.number.has(id)) dot(this.number.get(id), radius + 1.5);
    context.fillStyle = "#d07a00";
    for (const id of this.selected) if (this.number.has(id)) dot(this.number.get(id), radius + 1);
    if (this.lasso && this.lasso.length > 1) {
      context.strokeStyle = colour("--accent");
      context.beginPath();
      for (const [x, y] of this.lasso) context.lineTo(x, y);
      context.stroke();
    }
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  nearest([x, y]) {
    let [best, least] = [null, REACH * REACH];
    for (let column = Math.floor(x / REACH) - 1; column <= x / REACH + 1; column += 1) {
      for (let row = Math.floor(y / REACH) - 1; row <= y / REACH + 1; row += 1) {
        for (const i of this.cells.get(`${column},${row}`) || []) {
          const distance = (this.px[i] - x) ** 2 + (this.py[i] - y) ** 2;
          if (distance < least) [best, least] = [i, distance];
        }
      }
    }
    return best;
  }

  begin(event) {
    if (!this.points) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.lasso = [this.at(event)];
    this.unpin();
  }

  move(event) {
    if (!this.points) return;
    if (!this.lasso) {
      if (!this.pinned) this.hover(this.nearest(this.at(event)));
      return;
    }
    this.lasso.push(this.at(event));
    this.draw();
  }

  end() {
    const lasso = this.lasso;
    this.lasso = null;
    if (!lasso) return;
    const row = lasso.length > 3 ? null : this.nearest(lasso[0]);
    if (row !== null) {
      this.hovered = row;
      this.pinned = true;
      this.show(row);
      return;
    }
    const inside = new Set();
    if (lasso.length > 3) for (let i = 0; i < this.px.length; i += 1) if (within(this.px[i], this.py[i], lasso)) inside.add(this.points.ids[i]);
    this.select(inside);
    this.draw();
  }

  hover(row) {
    if (row === this.hovered) return;
    this.hovered = row;
    clearTimeout(this.timer);
    this.card.hidden = true;
    this.card.replaceChildren();
    if (row === null) return;
    this.timer = setTimeout(() => this.show(row), 250);
  }

  async show(row) {
    const clip = this.points.ids[row];
    let shown;
    try {
      shown = await get("/api/clip", { corpus: this.corpus, clip });
    } catch {
      return;
    }
    if (this.hovered !== row) return;
    const box = this.canvas.getBoundingClientRect();
    this.card.style.left = `${Math.min(this.px[row] + 12, box.width - 232)}px`;
    this.card.style.top = `${Math.min(Math.max(4, this.py[row] - 80), Math.max(4, box.height - 210))}px`;
    const video = element("video", { src: `${address("/media", { corpus: this.corpus, clip })}#t=${shown.start_s},${shown.stop_s}`, autoplay: true, playsinline: true });
    video.addEventListener("error", () => { if (!video.src.includes("/preview")) video.src = address("/preview", { corpus: this.corpus, clip }); }, { once: true });
    const { similar } = this.handlers;
    const more = this.pinned ? element("button", { type: "button", class: "quiet", onclick: () => similar(clip) }, "More like this") : null;
    if (!shown.has_video) video.poster = address("/image", { corpus: this.corpus, clip, kind: "spectrogram" });
    video.controls = this.pinned;
    const parts = [video, element("p", {}, shown.captions[0] || shown.file), more];
    this.card.replaceChildren(...parts.filter(Boolean));
    this.card.classList.toggle("pinned", this.pinned);
    this.card.hidden = false;
  }
}

function within(x, y, polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
    const [[xi, yi], [xj, yj]] = [polygon[i], polygon[j]];
    if ((yi > y) !== (yj > y) && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
