// The classes with their samples: give, look at, keep for checking, rename, erase.

import * as api from "./api.js";
import { capture } from "./capture.js";
import { $, make } from "./dom.js";
import { plot } from "./report.js";
import { refresh, regression, state } from "./session.js";
import { say, tried } from "./words.js";

const KEEP_EVERY = 3; // of the samples of a class, for checking

export function classes() {
  const own = state.session.samples.map((sample) => sample.label);
  return [...new Set([...(state.model.labels ?? []), ...own, ...Object.keys(state.session.classes), ...state.empty])];
}

export function showClasses() {
  const names = classes();
  $("classes").replaceChildren(...names.map(card));
  const full = !regression() && names.length >= state.model.max_ways;
  $("add-class").hidden = state.model.labels !== null || full;
  $("add-class").querySelector("button").className = names.length < state.model.min_ways ? "primary" : "";
}

function card(label) {
  const own = state.session.samples.filter((sample) => sample.label === label);
  const named = state.model.labels === null;
  const removable = own.length || state.empty.includes(label);
  const remove = tried(async () => {
    state.empty = state.empty.filter((name) => name !== label);
    if (own.length) await api.eraseClass(state.session.id, label);
    await refresh();
  });
  return make("article", { class: "class", "aria-label": label },
    make("header", {}, make("h3", {}, label),
      make("span", { class: "row" },
        named ? make("button", { type: "button", "aria-label": `Rename ${label}`, onclick: () => renameClass(label) }, "Rename") : null,
        removable ? make("button", { type: "button", "aria-label": `Remove ${label}`, onclick: remove }, "Remove") : null)),
    own.length || !(label in state.session.classes) ? null : make("p", { class: "quiet" }, "It knows this class; none of its samples are kept here."),
    make("ul", { class: "samples" }, ...own.map((sample, i) => thumbnail(sample, i))),
    make("div", { class: "row" }, make("button", { type: "button", onclick: () => collect(label) }, own.length ? "Add samples" : "Give samples")));
}

function renameClass(label) {
  const dialog = $("dialog");
  const input = make("input", { value: label, maxlength: "80", autocomplete: "off", required: true });
  const form = make("form", {}, make("label", {}, regression() ? "Number" : "Name", input),
    make("div", { id: "dialog-message", class: "message", role: "alert", hidden: true }),
    make("div", { class: "row end" }, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), make("button", { class: "primary" }, "Rename")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tried(async () => {
      const name = input.value.trim();
      if (name && name !== label) await giveName(label, name);
      dialog.close();
    })();
  });
  $("dialog-title").textContent = `Rename ${label}`;
  $("dialog-body").replaceChildren(form);
  dialog.showModal();
  input.select();
}

async function giveName(label, name) {
  if (classes().includes(name)) throw new api.Problem({ title: "This class is there already", detail: "Choose another name." });
  const known = label in state.session.classes || state.session.samples.some((sample) => sample.label === label);
  if (known) await api.renameClass(state.session.id, label, name);
  state.empty = state.empty.map((one) => (one === label ? name : one));
  await refresh();
}

function thumbnail(sample, index) {
  const words = sample.held_back ? "kept for checking" : "learned from";
  const flip = tried(async () => { await api.holdBack(state.session.id, sample.id, !sample.held_back); await refresh(); });
  const remove = tried(async () => { await api.eraseSample(state.session.id, sample.id); await refresh(); });
  const picture = make("button", { type: "button", class: "picture", "aria-pressed": String(sample.held_back),
    "aria-label": `Sample ${index + 1} of ${sample.label}, ${words}`, title: words, onclick: flip });
  show(sample, picture);
  return make("li", { class: sample.held_back ? "sample kept" : "sample" }, picture,
    make("span", { class: "use" }, sample.held_back ? "check" : "learn"),
    make("button", { type: "button", class: "remove", "aria-label": `Erase sample ${index + 1} of ${sample.label}`, onclick: remove }, "erase"));
}

async function show(sample, place) {
  if (!state.pictures.has(sample.id)) {
    const load = state.model.kind === "image"
      ? api.picture(state.session.id, sample.id).then((blob) => URL.createObjectURL(blob))
      : api.numbers(state.session.id, sample.id);
    state.pictures.set(sample.id, load);
  }
  try {
    const found = await state.pictures.get(sample.id);
    place.replaceChildren(state.model.kind === "image" ? make("img", { src: found, alt: "" }) : plot(found));
  } catch {
    state.pictures.delete(sample.id); // erased meanwhile
  }
}

export function collect(label) {
  const dialog = $("dialog");
  const count = make("p", { class: "quiet", "aria-live": "polite" });
  const tell = () => {
    const own = state.session.samples.filter((sample) => sample.label === label).length;
    count.textContent = own === 1 ? "1 sample so far." : `${own} samples so far.`;
  };
  const taken = capture(state.model, {
    verb: "Add",
    failed: say,
    take: async (sample) => {
      say(null);
      const own = state.session.samples.filter((one) => one.label === label).length;
      await api.addSample(state.session.id, label, sample, own % KEEP_EVERY === KEEP_EVERY - 1);
      state.empty = state.empty.filter((name) => name !== label);
      await refresh();
      tell();
    },
  });
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Done");
  $("dialog-title").textContent = `Samples of ${label}`;
  $("dialog-body").replaceChildren(taken.element, make("div", { id: "dialog-message", class: "message", role: "alert", hidden: true }), count, make("div", { class: "row end" }, close));
  dialog.addEventListener("close", taken.stop, { once: true });
  tell();
  dialog.showModal();
}
