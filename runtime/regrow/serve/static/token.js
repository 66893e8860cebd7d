// Ask for the token that the service wants.

import { setToken } from "./api.js";
import { $, make } from "./dom.js";

export function askToken() {
  const input = make("input", { type: "password", autocomplete: "off", required: true });
  const form = make("form", { class: "row" }, make("label", {}, "Token", input), make("button", { class: "primary" }, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(input.value.trim());
    location.reload();
  });
  $("dialog-title").textContent = "This service asks for a token";
  $("dialog-body").replaceChildren(make("p", { class: "quiet" }, "Whoever runs it makes one with “regrow serve --new-token NAME”."), form);
  if (!$("dialog").open) $("dialog").showModal();
}
