// The search page: state in the address line, controls, keyboard, files and recordings.

import { element, get, post, upload } from "./api.js";
import { ClipMap } from "./map.js";
import { stop } from "./player.js";
import { Column } from "./results.js";

const FIELDS = { corpus: "", q: "", clip: "", upload: "", name: "", encoder: "", encoder2: "", subset: "", where: "", words: "0", group: "1", map: "" };
const RECORDED_MS = 10000;
const MARKED = 12;
const by = (id) => document.getElementById(id);

let corpora = [];
let state = { ...FIELDS };
let searches = 0;
let focusFirst = false;

const handlers = {
  similar: (clip) => {
    focusFirst = Boolean(document.activeElement?.closest(".card"));
    go({ clip, q: "", upload: "", name: "" });
  },
  subset: (subset) => go({ subset }),
  added: () => compare(),
};
const left = new Column(by("left"), handlers);
const right = new Column(by("right"), handlers);
let lasso = [];
const map = new ClipMap(by("map"), (ids) => {
  lasso = ids;
  by("map-save").disabled = !ids.length;
}, handlers);

function read() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(Object.entries(FIELDS).map(([name, usual]) => [name, given.get(name) ?? usual]));
}

function written(values) {
  const changed = Object.entries(values).filter(([name, value]) => value !== FIELDS[name]);
  return changed.length ? `?${new URLSearchParams(changed)}` : location.pathname;
}

function go(changes) {
  history.replaceState({ y: scrollY, shown: left.cards.length }, "");
  state = { ...state, ...changes };
  history.pushState(null, "", written(state));
  show();
}

// Shows in each column the rank of its clips in the other one.
function compare() {
  const beside = state.encoder2 && left.answer && right.answer;
  left.compare(beside ? right : null, beside && right.answer.encoders.join(" and "));
  right.compare(beside ? left : null, beside && left.answer.encoders.join(" and "));
}

function corpus() {
  return corpora.find((one) => one.name === state.corpus) || corpora[0];
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text, off]) => element("option", { value, disabled: Boolean(off), title: off || null }, text)));
  select.value = entries.some(([value]) => value === chosen) ? chosen : entries[0]?.[0] ?? "";
}

function controls() {
  const current = corpus();
  options(by("corpus"), corpora.map((one) => [one.name, `${one.name} (${one.clips})`]), current.name);
  const kind = state.clip || state.upload ? null : "text";
  const entries = current.encoders.map((one) => [one.name, one.name, one.problem || (kind && !one[kind] ? "has no caption tower" : null)]);
  const usual = current.encoders.find((one) => one.default);
  const usable = current.encoders.filter((one) => !one.problem && (!kind || one[kind])).map((one) => one.name);
  if (usable.length > 1) entries.push([usable.join(","), `fused: ${usable.join(" + ")}`]);
  options(by("encoder"), [["", usual ? `best (${usual.name})` : "default"], ...entries], state.encoder);
  options(by("encoder2"), [["", "–"], ...entries], state.encoder2);
  options(by("subset"), [["", "all clips"], ...current.subsets.map((one) => [one, one])], state.subset);
  by("q").value = state.q;
  by("where").value = state.where;
  by("words").value = state.words;
  by("words").disabled = !kind;
  by("words-out").textContent = `${Math.round(100 * state.words)} %`;
  by("words-label").hidden = !current.captions;
  by("group").checked = state.group === "1";
  by("map-button").setAttribute("aria-pressed", String(Boolean(state.map)));
  by("query").hidden = !(state.clip || state.upload);
  by("query-text").textContent = state.clip ? `Clips like ${state.clip}` : state.upload ? `Clips like the file ${state.name || "that you gave"}` : "";
}

function request(encoder) {
  const asked = { corpus: corpus().name, encoders: encoder ? encoder.split(",") : [], group: state.group === "1" };
  if (state.clip) asked.clip = state.clip;
  else if (state.upload) asked.upload = state.upload;
  else {
    asked.text = state.q;
    asked.words = Number(state.words);
  }
  if (state.subset) asked.subset = state.subset;
  if (state.where) asked.where = state.where;
  return asked;
}

async function show(before = {}) {
  const number = ++searches;
  stop();
  by("error").textContent = "";
  controls();
  showMap();
  const asked = Boolean(state.q.trim() || state.clip || state.upload);
  document.title = `${state.q || (state.clip && `like ${state.clip}`) || state.name || "search"} – hearonce`;
  by("save-button").disabled = true;
  by("empty").replaceChildren();
  if (!asked) {
    left.clear();
    right.clear();
    by("right").hidden = true;
    by("status").textContent = "";
    welcome();
    return;
  }
  const slow = setTimeout(() => { by("status").textContent = "Searching… (the first query loads the encoder)"; }, 300);
  const [beside, current] = [state.encoder2, corpus()];
  by("right").hidden = !beside;
  try {
    const usual = current.encoders.find((one) => one.default)?.name || "default encoder";
    const first = left.show(request(state.encoder), beside ? state.encoder || usual : "", before.shown);
    if (!beside) right.clear();
    else {
      right.show(request(beside), beside, before.shown).catch((error) => {
        if (error.name !== "AbortError" && number === searches) right.fail(error.message, beside);
      });
    }
    const answer = await first;
    if (number !== searches) return;
    clearTimeout(slow);
    const nearest = answer.approximate ? "the nearest " : "";
    const among = answer.total === 1 ? "1 result" : `${nearest}${answer.total} results`;
    by("status").textContent = `${among}, best first, in ${answer.seconds.toFixed(2)} s by ${answer.encoders.join(" and ")}`;
    by("save-button").disabled = !answer.total;
    if (!answer.total) by("empty").append(element("h2", {}, "No clip"), element("p", {}, "No clip passes the filters: take another subset or condition."));
    if (before.y) scrollTo(0, before.y);
    else if (scrollY > by("left").offsetTop) scrollTo(0, 0);
    if (focusFirst) left.cards[0]?.root.focus();
    focusFirst = false;
    map.mark(answer.results.slice(0, MARKED).map((one) => one.clip_id));
  } catch (error) {
    if (error.name === "AbortError" || number !== searches) return;
    by("status").textContent = "";
    by("error").textContent = error.message;
  } finally {
    clearTimeout(slow);
  }
}

function welcome() {
  const current = corpus();
  const hours = current.duration_s >= 3600 ? `${(current.duration_s / 3600).toFixed(1)} hours` : `${Math.round(current.duration_s / 60)} minutes`;
  const box = by("empty");
  if (current.problem) {
    box.append(element("h2", {}, current.name), element("p", {}, current.problem));
    return;
  }
  box.append(element("h2", {}, `${current.clips} clips, ${hours}`), element("p", {}, "Type what the clip should sound or look like, drop an audio or video file, or record some sound."));
  const usable = current.encoders.filter((one) => !one.problem);
  if (!usable.length) box.append(element("p", {}, current.encoders[0]?.problem || "No encoder has embedded this corpus yet: run `dvc repro`."));
}

async function showMap() {
  by("map").hidden = !state.map;
  if (!state.map) return;
  const current = corpus();
  const wanted = state.encoder.split(",")[0] || current.encoders.find((one) => one.default)?.name || current.encoders[0]?.name;
  try {
    await map.load(current.name, current.maps.includes(wanted) ? wanted : current.maps[0] || wanted);
    map.draw();
  } catch (error) {
    map.fail(error.message);
  }
}

async function byFile(file, name) {
  by("status").textContent = `Reading ${name}…`;
  by("error").textContent = "";
  try {
    const kept = await upload(file, name);
    go({ upload: kept.upload, name, q: "", clip: "" });
  } catch (error) {
    by("status").textContent = "";
    by("error").textContent = `${name}: ${error.message}`;
  }
}

let recorder = null;

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  } catch {
    by("error").textContent = "The microphone cannot be used: allow it for this page.";
    return;
  }
  const parts = [];
  recorder = new MediaRecorder(stream);
  const over = setTimeout(() => recorder?.stop(), RECORDED_MS);
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  recorder.addEventListener("stop", () => {
    clearTimeout(over);
    for (const track of stream.getTracks()) track.stop();
    const type = recorder.mimeType;
    recorder = null;
    by("record").setAttribute("aria-pressed", "false");
    by("record").textContent = "Record";
    byFile(new Blob(parts, { type }), "recording");
  });
  recorder.start();
  by("record").setAttribute("aria-pressed", "true");
  by("record").textContent = "Stop";
  by("status").textContent = "Recording, ten seconds at most…";
}

let saving = null;

function openSave(ids) {
  saving = ids;
  by("save-text").textContent = ids ? `${ids.length} clips of ${corpus().name}` : `The best clips for this query, of ${corpus().name}`;
  by("save-count-label").hidden = Boolean(ids);
  by("save-error").textContent = "";
  by("save").showModal();
  by("save-name").focus();
}

async function save(event) {
  event.preventDefault();
  const name = by("save-name").value;
  try {
    let clips = saving;
    if (!clips) {
      clips = [];
      const wanted = Number(by("save-count").value);
      while (clips.length < wanted) {
        const limit = Math.min(200, wanted - clips.length);
        const page = await post("/api/search", { ...request(state.encoder), group: false, offset: clips.length, limit });
        clips.push(...page.results.map((one) => one.clip_id));
        if (page.results.length < limit) break;
      }
    }
    const note = saving ? "Selected on the map of the search page." : `Found by the search page: ${state.q || state.clip || state.name}`;
    const kept = await post("/api/subsets", { corpus: corpus().name, name, clips, note });
    by("save").close();
    by("save-name").value = "";
    corpora = await get("/api/corpora");
    controls();
    by("status").textContent = `Saved ${kept.clips} clips as ${kept.path}; score it by: ${kept.command}`;
  } catch (error) {
    by("save-error").textContent = error.message;
  }
}

function cards() {
  return [...document.querySelectorAll(".card")];
}

function neighbour(card, key) {
  const all = cards();
  const index = all.indexOf(card);
  const from = card.getBoundingClientRect();
  if (key === "ArrowRight" || key === "ArrowLeft") {
    const step = key === "ArrowRight" ? 1 : -1;
    const next = all[index + step];
    const across = all.filter((one) => one.closest(".column") !== card.closest(".column") && step * (one.getBoundingClientRect().left - from.left) > 0);
    if (!across.length || next?.getBoundingClientRect().top === from.top) return next;
    const distance = (one) => Math.abs(one.getBoundingClientRect().top - from.top) + Math.abs(one.getBoundingClientRect().left - from.left) / 100;
    return across.reduce((best, one) => (distance(one) < distance(best) ? one : best));
  }
  const rows = all.filter((one) => {
    const box = one.getBoundingClientRect();
    return (key === "ArrowDown" ? box.top > from.top + 4 : box.top < from.top - 4) && Math.abs(box.left - from.left) < from.width / 2;
  });
  return key === "ArrowDown" ? rows[0] : rows.at(-1);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const inField = event.target.matches("input, select, textarea, video");
  if (event.key === "Escape") {
    stop();
    if (inField) event.target.blur();
    return;
  }
  if (event.target === by("q") && event.key === "ArrowDown" && cards().length) {
    cards()[0].focus();
    event.preventDefault();
  }
  if (inField) return;
  const card = event.target.closest?.(".card");
  const on = event.target === card;
  if (event.key === "/") by("q").focus();
  else if (event.key === "?") by("help").showModal();
  else if (event.key === "m") go({ map: state.map ? "" : "1" });
  else if (event.key.startsWith("Arrow")) {
    const next = card ? neighbour(card, event.key) : cards()[0];
    if (!next) return;
    next.focus();
  } else if (event.key === " " && on) card.card.play();
  else if (event.key === "t" && card && !card.card.result.missing) card.card.trim();
  else if (event.key === "Enter" && on) handlers.similar(card.dataset.clip);
  else return;
  event.preventDefault();
}

function listen() {
  by("search").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ q: by("q").value.trim(), clip: "", upload: "", name: "" });
  });
  by("corpus").addEventListener("change", () => go({ ...FIELDS, q: state.q, corpus: by("corpus").value, map: state.map }));
  for (const id of ["encoder", "encoder2", "subset", "where", "words"]) by(id).addEventListener("change", () => go({ [id]: by(id).value }));
  by("words").addEventListener("input", () => { by("words-out").textContent = `${Math.round(100 * by("words").value)} %`; });
  by("options-button").addEventListener("click", () => {
    const open = by("options").classList.toggle("open");
    by("options-button").setAttribute("aria-expanded", String(open));
  });
  by("group").addEventListener("change", () => go({ group: by("group").checked ? "1" : "0" }));
  by("map-button").addEventListener("click", () => go({ map: state.map ? "" : "1" }));
  by("map-save").addEventListener("click", () => openSave(lasso));
  by("save-button").addEventListener("click", () => openSave(null));
  by("save-cancel").addEventListener("click", () => by("save").close());
  by("save-form").addEventListener("submit", save);
  by("query-clear").addEventListener("click", () => go({ clip: "", upload: "", name: "" }));
  by("help-button").addEventListener("click", () => by("help").showModal());
  by("file-button").addEventListener("click", () => by("file").click());
  by("file").addEventListener("change", () => {
    const [file] = by("file").files;
    if (file) byFile(file, file.name);
    by("file").value = "";
  });
  by("record").addEventListener("click", record);
  by("record").hidden = !(navigator.mediaDevices && window.MediaRecorder);
  document.addEventListener("keydown", keys);
  history.scrollRestoration = "manual";
  window.addEventListener("popstate", (event) => { state = read(); show(event.state || {}); });
  let depth = 0;
  document.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; by("drop").hidden = false; });
  document.addEventListener("dragleave", () => { depth -= 1; by("drop").hidden = depth > 0 ? false : true; });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    by("drop").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) byFile(file, file.name);
  });
}

async function start() {
  state = read();
  listen();
  try {
    corpora = await get("/api/corpora");
  } catch (error) {
    by("error").textContent = error.message;
    return;
  }
  document.body.dataset.ready = "1";
  show();
}

start();
