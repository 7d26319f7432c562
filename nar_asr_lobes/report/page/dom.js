// Elements and numbers. Texts become text nodes and are never parsed.

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function makeSvg(tag, attributes = {}, ...children) {
  const namespace = "http://www.w3.org/2000/svg";
  return fill(document.createElementNS(namespace, tag), attributes, children);
}

// A text of unknown direction, which must not turn its neighbours around.
function isolated(text, attributes = {}) {
  return make("bdi", attributes, String(text));
}

function direction(text) {
  const letter = text.match(/\p{L}/u);
  const rightToLeft = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;
  return letter !== null && rightToLeft.test(letter[0]) ? "rtl" : "ltr";
}

function percent(value, digits = 2) {
  return value === null ? "–" : (100 * value).toFixed(digits);
}

function ends(interval) {
  return interval ? interval.map((end) => percent(end)).join(" to ") : "–";
}

function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// A control with its label; choices are [value, text] each.
function select(label, choices, onchange) {
  const options = choices.map(([value, text]) =>
    make("option", { value }, text));
  const element = make("select", {}, ...options);
  element.addEventListener("change", () => onchange(element.value));
  return make("label", {}, `${label} `, element);
}

// A table that scrolls by itself where the window is narrow.
function table(caption, head, rows) {
  const cells = (row) => row.map((cell, index) =>
    make(index ? "td" : "th", index ? {} : { scope: "row" }, cell));
  const scrolled = make("div", { class: "scroll", tabindex: 0, role: "region",
    "aria-label": caption },
  make("table", {},
    make("thead", {}, make("tr", {},
      ...head.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map((row) =>
      make("tr", {}, ...cells(row))))));
  return make("div", {}, make("p", { class: "caption" }, caption), scrolled);
}
