// Learning: its progress, its report, and what the model knows by now.

import * as api from "./api.js";
import { $ } from "./dom.js";
import { curve, report } from "./report.js";
import { refresh, regression, state } from "./session.js";
import { tried } from "./words.js";

export function showLearned() {
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

export async function learn() {
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
