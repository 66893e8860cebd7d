// Saved calibrations: a list with what can be done to each.

import * as api from "./api.js";
import { make } from "./dom.js";

/** `load(saved)`, `erase(saved)` and `download(saved)` are what its buttons do. */
export function entry(saved, { load, download, erase }) {
  const button = (word, act, how = {}) => make("button", { type: "button", "aria-label": `${word} ${saved.name}`, onclick: act, ...how }, word);
  return make("li", { class: "saved" },
    make("span", {}, make("b", {}, saved.name), make("span", { class: "quiet" }, ` ${new Date(1000 * saved.created).toLocaleString()}`)),
    make("span", { class: "row" },
      button("Load", load),
      button("Download", download),
      button("Erase", erase, { class: "danger" })));
}

export async function download(saved) {
  const link = make("a", { href: URL.createObjectURL(await api.download(saved.id)), download: `${saved.name}.delta` });
  link.click();
  URL.revokeObjectURL(link.href);
}
