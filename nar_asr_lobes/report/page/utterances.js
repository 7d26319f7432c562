// The utterances of a test set: sorted, searched, a page at a time.

const PAGE_SIZE = 25;
const ORDERS = {
  rate: ["error rate, highest first", (a, b) =>
    b.rate - a.rate || b.errors - a.errors],
  errors: ["errors, most first", (a, b) => b.errors - a.errors],
  length: ["length, longest first", (a, b) => b.total - a.total],
  id: ["id", (a, b) => (a.row.id < b.row.id ? -1 : 1)],
};
const KINDS = [["", "all"], ["errors", "with errors"], ["S", "with S"],
  ["D", "with D"], ["I", "with I"]];

// An error in colour, with its letter: S, D or I.
function errorMark(said, heard) {
  const kind = !heard ? "D" : said ? "S" : "I";
  return make("span", { class: `error ${kind}` },
    said ? isolated(said, { class: "said" }) : null,
    heard ? isolated(heard, { class: "heard" }) : null,
    make("b", {}, kind));
}

function legend() {
  return make("p", { class: "facts" }, errorMark("reference", "hypothesis"),
    " substituted, ", errorMark("reference", ""), " deleted, ",
    errorMark("", "hypothesis"), " inserted");
}

function textsOf(text, space) {
  const side = (index) => text.map((part) =>
    (typeof part === "string" ? part : part[index]))
    .filter((part) => part).join(space);
  return [side(0), side(1)];
}

function describeSet(set, system) {
  const space = set.has_words ? " " : "";
  return set.rows.map((row, index) => {
    const [total, S, D, I] = system.counts[index];
    const text = system.texts[index];
    const errors = S + D + I;
    const [said, heard] = textsOf(text, space);
    return { row, index, text, total, S, D, I, errors, said,
      rate: errors / Math.max(total, 1),
      words: system.words[index] ?? null,
      hay: [row.id, row.speaker ?? "", said, heard].join("\n").toLowerCase() };
  });
}

function showUtterance(set, item) {
  const unit = set.has_words ? "word" : "character";
  const facts = [`${rateOf(set).toUpperCase()} ${percent(item.rate, 1)} %`,
    `${item.S} S, ${item.D} D, ${item.I} I`, count(item.total, unit)];
  if (item.row.seconds) facts.push(`${item.row.seconds.toFixed(1)} s`);
  const parts = item.text.flatMap((part) => [
    typeof part === "string" ? isolated(part) : errorMark(...part),
    set.has_words ? " " : ""]);
  const { speaker } = item.row;
  return make("li", { class: "utterance" },
    make("h4", {}, isolated(item.row.id)),
    make("p", { class: "facts" }, facts.join(" · "),
      speaker ? " · speaker " : "", speaker ? isolated(speaker) : ""),
    make("p", { class: "alignment", dir: direction(item.said) }, ...parts),
    item.row.clip ? showClip(item.row.clip, item.words, item.text) : null);
}

class UtteranceBrowser {
  constructor(set) {
    this.set = set;
    this.state = { query: "", order: "rate", kind: "", pair: null, page: 0 };
    this.list = make("ol", { class: "utterances" });
    this.status = make("p", { role: "status", tabindex: -1 });
    this.pair = make("p", { class: "chosen" });
    this.pages = make("nav", { "aria-label": "pages of utterances" });
    this.search = make("input", { type: "search", placeholder:
      "id, speaker or words", oninput: () =>
      this.change({ query: this.search.value }) });
    this.element = make("div", {},
      make("div", { class: "controls" },
        make("label", {}, "Search ", this.search),
        select("Sort by", Object.entries(ORDERS).map(([key, [name]]) =>
          [key, name]), (order) => this.change({ order })),
        select("Show", KINDS, (kind) => this.change({ kind }))),
      legend(), this.pair, this.status, this.list, this.pages);
  }

  showSystem(system) {
    this.items = describeSet(this.set, system);
    this.change({});
  }

  choosePair(pair) {
    this.change({ pair });
    this.status.focus();
  }

  change(changes) {
    Object.assign(this.state, { page: 0 }, changes);
    const { query, order, kind, pair } = this.state;
    const wanted = query.trim().toLowerCase();
    this.found = this.items.filter((item) =>
      (!wanted || item.hay.includes(wanted))
      && (!kind || item[kind] > 0)
      && (!pair || item.text.some((part) => typeof part !== "string"
        && part[0] === pair[0] && part[1] === pair[1])));
    this.found.sort((a, b) => ORDERS[order][1](a, b) || a.index - b.index);
    this.show();
  }

  turn(pages) {
    this.state.page += pages;
    this.show();
    this.status.focus(); // the button that was pressed is gone
  }

  show() {
    const { page, pair } = this.state;
    const start = page * PAGE_SIZE;
    const shown = this.found.slice(start, start + PAGE_SIZE);
    this.list.replaceChildren(...shown.map((item) =>
      showUtterance(this.set, item)));
    this.list.setAttribute("start", start + 1);
    this.status.textContent = shown.length
      ? `${start + 1} to ${start + shown.length} of `
        + count(this.found.length, "utterance")
      : "No utterance is like this.";
    const button = (text, pages) => make("button", { type: "button",
      ...(this.found[start + pages * PAGE_SIZE] ? {} : { disabled: "" }),
      onclick: () => this.turn(pages) }, text);
    this.pages.replaceChildren(button("← Back", -1), button("Next →", 1));
    this.pair.replaceChildren(...(pair ? ["Only utterances with ",
      errorMark(...pair), " ", make("button", { type: "button", onclick: () =>
        this.change({ pair: null }) }, "Show all")] : []));
  }
}
