// Trying: what the model answers now, beside what it would have answered before it learned.

import * as api from "./api.js";
import { capture } from "./capture.js";
import { $ } from "./dom.js";
import { answers } from "./report.js";
import { state } from "./session.js";
import { say, tried } from "./words.js";

let trying = null;
let model = null;

/** Another model wants other samples; otherwise the last one is asked about again. */
export async function showTrying() {
  if (model !== state.model) startTrying();
  model = state.model;
  await answer();
}

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
