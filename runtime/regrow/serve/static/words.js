// What went wrong, told where the person looks.

import { Problem } from "./api.js";
import { $, make } from "./dom.js";
import { askToken } from "./token.js";

export function say(error) {
  if (error instanceof Problem && error.status === 401) return askToken();
  const box = $("dialog").open ? $("dialog-message") : $("message");
  if (!error) {
    $("message").hidden = true;
    if ($("dialog-message")) $("dialog-message").hidden = true;
    return null;
  }
  if (!(error instanceof Problem)) console.error(error);
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

export const tried = (work) => async (...given) => {
  say(null);
  try {
    await work(...given);
  } catch (error) {
    say(error);
  }
};
