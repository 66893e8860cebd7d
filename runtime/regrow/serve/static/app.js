// The page: one session, its classes, what it learned, what is saved. The service knows everything; this shows it.

import * as api from "./api.js";
import { capture } from "./capture.js";
import { $, make } from "./dom.js";
import { answers, curve, plot, report } from "./report.js";
import { download, entry } from "./saved.js";
import { askToken } from "./token.js";

const SESSION = "regrow.session";
const KEEP_EVERY = 3; // of the samples of a class, for checking

const state = { models: [], model: null, session: null, empty: [], query: null, pictures: new Map(), busy: false };
let trying = null;

// ---- words ---------------------------------------------------------------------------------------------------

function say(error) {
  if (error instanceof api.Problem && error.status === 401) return askToken();
  const box = $("dialog").open ? $("dialog-message") : $("message");
  if (!error) {
    $("message").hidden = true;
    if ($("dialog-message")) $("dialog-message").hidden = true;
    return null;
  }
  if (!(error instanceof api.Problem)) console.error(error);
  const title = error.title || "Something went wrong";
  box.replaceChildren(make("b", {}, title), sentence(error.message));
  box.hidden = false;
  return null;
}

/** "place: found, expected; remedy" without the place, as a sentence. */
function sentence(text) {
  const words = text.replace(/^\w+: /, "");
  return words[0].toUpperCase() + words.slice(1).replace(/[.]?$/, ".");
}

const tried = (work) => async (...given) => {
  say(null);
  try {
    await work(...given);
  } catch (error) {
    say(error);
  }
};

const regression = () => state.model.task === "regression";

// ---- the session ----------------------------------------------------------------------------------------------

async function begin() {
  state.models = await api.models();
  const known = localStorage.getItem(SESSION);
  if (known) {
    try {
      state.session = await api.session(known);
    } catch (error) {
      if (error.status !== 404 && error.status !== 409) throw error;
    }
  }
  if (!state.session) await openSession(state.models[0].digest);
  await refresh();
  $("model").replaceChildren(...state.models.map((model) => make("option", { value: model.digest }, model.name)));
  $("model-field").hidden = state.models.length < 2;
  document.querySelector("main").hidden = false;
}

async function openSession(digest) {
  const model = state.models.find((one) => one.digest === digest);
  await goOn((await api.open(digest, `${model.name} ${new Date().toLocaleDateString()}`)).id);
}

async function goOn(id) {
  state.session = await api.session(id);
  localStorage.setItem(SESSION, id);
  Object.assign(state, { empty: [], query: null });
  state.pictures.clear();
}

/** Whatever was begun on any device stays within reach, to go on with or to erase. */
async function showOthers() {
  const served = new Set(state.models.map((model) => model.digest));
  const others = (await api.sessions()).filter((one) => one.id !== state.session.id && served.has(one.model)).reverse();
  $("others-field").hidden = others.length === 0;
  $("others").replaceChildren(make("option", { value: "" }, "Go on with …"), ...others.map((one) =>
    make("option", { value: one.id }, `${one.name} (${new Date(1000 * one.touched).toLocaleString()})`)));
}

async function refresh() {
  state.session = await api.session(state.session.id);
  const changed = state.model?.digest !== state.session.model;
  state.model = state.models.find((model) => model.digest === state.session.model);
  if (changed) startTrying();
  showSession();
  showClasses();
  showLearned();
  await Promise.all([showSaved(), showOthers(), answer()]);
}

function showSession() {
  const { model, session } = state;
  $("model").value = model.digest;
  $("session-name").value = session.name;
  const what = model.kind === "image" ? `images of ${model.shape[2]} × ${model.shape[1]}` : `signals of ${model.shape.join(" × ")} numbers`;
  $("about").textContent = `${model.name}: ${what}, ${model.adaptable.toLocaleString("en")} of ${model.parameters.toLocaleString("en")} weights can change.`;
  const few = regression() ? "Give samples with the number each stands for." : `Give one to ten samples of each of ${model.min_ways} to ${model.max_ways} classes.`;
  $("samples-help").textContent = `${few} Every third is kept for checking and not learned from; press a sample to change that.`;
  $("add-class-label").firstChild.textContent = regression() ? "Number " : "New class ";
  $("add-class").querySelector("button").textContent = regression() ? "Add number" : "Add class";
}

// ---- classes and samples ---------------------------------------------------------------------------------------

function classes() {
  const own = state.session.samples.map((sample) => sample.label);
  return [...new Set([...(state.model.labels ?? []), ...own, ...Object.keys(state.session.classes), ...state.empty])];
}

function showClasses() {
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

function collect(label) {
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

// ---- learning --------------------------------------------------------------------------------------------------

function showLearned() {
  const { session } = state;
  $("undo").disabled = state.busy || session.undo < 1;
  $("reset").disabled = state.busy || session.adaptations < 1;
  $("learn").disabled = state.busy || session.busy;
  $("save").querySelector("button").disabled = session.adaptations < 1;
  $("report").replaceChildren(...(session.report ? report(session.report) : []));
  if (state.busy) return;
  if (session.busy) {
    $("status").textContent = "It is learning, as was asked for before this page was loaded.";
    setTimeout(tried(refresh), 1000);
    return;
  }
  const names = Object.keys(session.classes);
  const given = session.samples.filter((sample) => !sample.held_back).length;
  const unknown = !regression() && session.samples.some((sample) => !sample.held_back && !(sample.label in session.classes));
  const stale = session.report && (unknown || session.report.samples !== given) ? " The samples have changed since: learn again." : "";
  $("status").textContent = session.adaptations
    ? `It has learned ${names.length ? names.join(", ") : "numbers"}${session.report ? "" : " (from a saved calibration)"}.${stale}`
    : "It has learned nothing yet.";
}

async function learn() {
  state.busy = true;
  const losses = [];
  showLearned();
  $("report").replaceChildren();
  $("progress").hidden = false;
  $("bar").removeAttribute("value");
  $("status").textContent = "Learning …";
  try {
    await api.adapt(state.session.id, $("build-on").checked ? "current" : "bundle", (event, data) => {
      if (event === "queued" && data.before) $("status").textContent = `Waiting: ${data.before} before this one.`;
      if (event !== "step") return;
      losses.push(data.loss);
      $("bar").max = data.steps;
      $("bar").value = data.step;
      $("status").textContent = `Step ${data.step} of ${data.steps}, loss ${data.loss.toFixed(3)}`;
      if (losses.length > 2) $("report").replaceChildren(curve(losses));
    });
  } finally {
    state.busy = false;
    $("progress").hidden = true;
    await refresh();
  }
}

// ---- trying ----------------------------------------------------------------------------------------------------

function startTrying() {
  trying?.stop();
  trying = capture(state.model, {
    verb: "Try",
    live: true,
    failed: say,
    take: tried(async (sample) => {
      state.query = sample;
      await answer();
    }),
  });
  $("try-capture").replaceChildren(trying.element);
}

async function answer() {
  const { query, session } = state;
  if (!query) return $("answers").replaceChildren(...answers(null, null, 0));
  const [before, now] = await Promise.all([
    session.adaptations ? api.predict(session.id, query, "before") : null,
    api.predict(session.id, query, "now"),
  ]);
  return $("answers").replaceChildren(...answers(before, now, now.predictions.length));
}

// ---- saved calibrations ----------------------------------------------------------------------------------------

async function showSaved() {
  const own = (await api.deltas()).filter((saved) => saved.model === state.model.digest);
  $("saved").replaceChildren(...own.map((saved) => entry(saved, {
    load: tried(() => loadSaved(saved)),
    download: tried(() => download(saved)),
    erase: tried(async () => { await api.eraseDelta(saved.id); await showSaved(); }),
  })));
}

async function loadSaved(saved) {
  await api.load(state.session.id, saved.id);
  $("build-on").checked = true;
  await refresh();
}

// ---- what the buttons do ---------------------------------------------------------------------------------------

const submitted = (id, work) => $(id).addEventListener("submit", (event) => { event.preventDefault(); tried(work)(); });
const pressed = (id, work) => $(id).addEventListener("click", tried(work));

submitted("add-class", async () => {
  const label = $("class-name").value.trim();
  if (!label) return;
  if (classes().includes(label)) throw new api.Problem({ title: "This class is there already", detail: "Choose another name." });
  state.empty.push(label);
  $("class-name").value = "";
  showClasses();
  collect(label);
});
submitted("save", async () => {
  await api.save(state.session.id, $("save-name").value.trim());
  $("save-name").value = "";
  await showSaved();
});
pressed("learn", learn);
pressed("undo", async () => { await api.undo(state.session.id); await refresh(); });
pressed("reset", async () => { await api.reset(state.session.id); $("build-on").checked = false; await refresh(); });
pressed("open-delta", async () => $("delta-file").click());
pressed("new-session", async () => { await openSession(state.model.digest); await refresh(); });
pressed("erase", async () => {
  if (!confirm("Erase this calibration, its samples and all it learned? Saved calibrations stay.")) return;
  await api.erase(state.session.id);
  await openSession(state.model.digest);
  await refresh();
});
$("others").addEventListener("change", tried(async () => { await goOn($("others").value); await refresh(); }));
$("session-name").addEventListener("change", tried(async () => {
  await api.rename(state.session.id, $("session-name").value.trim() || "calibration");
}));
$("model").addEventListener("change", tried(async () => { await openSession($("model").value); await refresh(); }));
$("delta-file").addEventListener("change", tried(async () => {
  const [file] = $("delta-file").files;
  $("delta-file").value = "";
  if (file) await loadSaved(await api.upload(state.model.digest, file.name.replace(/[.]delta$/, "").slice(0, 80) || "delta", file));
}));

tried(begin)();
