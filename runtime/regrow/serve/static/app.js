// The page: its header, and what the buttons do. Each section has a module of its own.

import * as api from "./api.js";
import { classes, collect, showClasses } from "./classes.js";
import { $, make } from "./dom.js";
import { learn, showLearned } from "./learning.js";
import { loadSaved, showSaved } from "./saved.js";
import { begin, goOn, openSession, refresh, regression, shows, state } from "./session.js";
import { showTrying } from "./trying.js";
import { tried } from "./words.js";

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

/** Whatever was begun on any device stays within reach, to go on with or to erase. */
async function showOthers() {
  const served = new Set(state.models.map((model) => model.digest));
  const others = (await api.sessions()).filter((one) => one.id !== state.session.id && served.has(one.model)).reverse();
  $("others-field").hidden = others.length === 0;
  $("others").replaceChildren(make("option", { value: "" }, "Go on with …"), ...others.map((one) =>
    make("option", { value: one.id }, `${one.name} (${new Date(1000 * one.touched).toLocaleString()})`)));
}

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

tried(async () => {
  await begin();
  $("model").replaceChildren(...state.models.map((model) => make("option", { value: model.digest }, model.name)));
  $("model-field").hidden = state.models.length < 2;
  shows(showSession, showClasses, showLearned, showTrying, showSaved, showOthers);
  await refresh();
  document.querySelector("main").hidden = false;
})();
