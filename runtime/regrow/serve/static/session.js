// The session that the page shows. The service knows everything about it; here is what it last said.

import * as api from "./api.js";

const SESSION = "regrow.session";

export const state = { models: [], model: null, session: null, empty: [], query: null, pictures: new Map(), busy: false };
const views = [];

export const regression = () => state.model.task === "regression";

/** Call `view` whenever the session may have changed. */
export const shows = (...more) => views.push(...more);

/** Ask the service how the session is now, and show that. */
export async function refresh() {
  state.session = await api.session(state.session.id);
  state.model = state.models.find((model) => model.digest === state.session.model);
  await Promise.all(views.map((view) => view()));
}

/** Go on where this browser was, or start; the next `refresh` shows it. */
export async function begin() {
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
}

export async function openSession(digest) {
  const model = state.models.find((one) => one.digest === digest);
  await goOn((await api.open(digest, `${model.name} ${new Date().toLocaleDateString()}`)).id);
}

export async function goOn(id) {
  state.session = await api.session(id);
  localStorage.setItem(SESSION, id);
  Object.assign(state, { empty: [], query: null });
  state.pictures.clear();
}
