// Saved calibrations: a list with what can be done to each.

import * as api from "./api.js";
import { $, make } from "./dom.js";
import { refresh, state } from "./session.js";
import { tried } from "./words.js";

export async function showSaved() {
  const own = (await api.deltas()).filter((saved) => saved.model === state.model.digest);
  $("saved").replaceChildren(...own.map((saved) => entry(saved, {
    load: tried(() => loadSaved(saved)),
    download: tried(() => download(saved)),
    erase: tried(async () => { await api.eraseDelta(saved.id); await showSaved(); }),
  })));
}

export async function loadSaved(saved) {
  await api.load(state.session.id, saved.id);
  $("build-on").checked = true;
  await refresh();
}

function entry(saved, { load, download, erase }) {
  const button = (word, act, how = {}) => make("button", { type: "button", "aria-label": `${word} ${saved.name}`, onclick: act, ...how }, word);
  return make("li", { class: "saved" },
    make("span", {}, make("b", {}, saved.name), make("span", { class: "quiet" }, ` ${new Date(1000 * saved.created).toLocaleString()}`)),
    make("span", { class: "row" },
      button("Load", load),
      button("Download", download),
      button("Erase", erase, { class: "danger" })));
}

async function download(saved) {
  const link = make("a", { href: URL.createObjectURL(await api.download(saved.id)), download: `${saved.name}.delta` });
  link.click();
  URL.revokeObjectURL(link.href);
}
