// Elements from JavaScript. Text is always text: nothing here parses markup.

export const $ = (id) => document.getElementById(id);

/** make("button", {class: "x", onclick: f}, "text", child) */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** The same for SVG. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A bar whose length is `share` of its width; the figure beside it says the same in words. */
export function meter(share) {
  const fill = make("span");
  fill.style.setProperty("--share", Math.max(0, Math.min(1, share)).toFixed(4));
  return make("div", { class: "meter", "aria-hidden": "true" }, fill);
}

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

export function bytes(count) {
  for (const unit of ["bytes", "kB", "MB"]) {
    if (count < 1000) return `${unit === "bytes" ? count : count.toFixed(1)} ${unit}`;
    count /= 1000;
  }
  return `${count.toFixed(1)} GB`;
}

export function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : value < 2000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}
