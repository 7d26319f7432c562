// Error rates with intervals: of all systems, and of the groups of one.

const MOST_GROUPS = 40;

function rateOf(set) {
  return set.has_words ? "wer" : "cer";
}

// A dot with its interval on a scale from 0 to `most`.
function plotInterval(value, interval, most) {
  const plot = make("div", { class: "interval", "aria-hidden": "true" });
  const place = (name, from, to) => {
    const mark = make("span", { class: name });
    mark.style.left = `${(100 * from) / most}%`;
    mark.style.width = `${(100 * (to - from)) / most}%`;
    plot.append(mark);
  };
  if (value !== null) {
    if (interval) place("whisker", ...interval);
    place("dot", value, value);
  }
  return plot;
}

function highest(rows, rate) {
  const tops = rows.map((row) => row[`${rate}_interval`]?.[1] ?? row[rate]);
  return Math.max(1e-9, ...tops);
}

function systemsTable(set) {
  const rate = rateOf(set);
  const figures = set.systems.map((system) => system.figures);
  const most = highest(figures, rate);
  const order = rate === "wer" ? ["wer", "cer"] : ["cer", "wer"];
  const hasTime = figures.some((row) => "rtf" in row);
  const head = ["system", "", ...order.flatMap((name) =>
    [`${name.toUpperCase()} %`, "95 %"]), "S", "D", "I", "words", "utterances"];
  if (hasTime) head.push("real-time factor");
  const rows = set.systems.map((system, index) => {
    const row = system.figures;
    const cells = [
      isolated(system.name + (index === set.best ? " ★" : "")),
      plotInterval(row[rate], row[`${rate}_interval`], most),
      ...order.flatMap((name) =>
        [percent(row[name]), ends(row[`${name}_interval`])]),
      ...["substitutions", "deletions", "insertions", "words", "utterances"]
        .map((name) => row[name].toLocaleString("en")),
    ];
    if (hasTime) cells.push(row.rtf?.toFixed(3) ?? "–");
    return cells;
  });
  const caption = "Error rates; ★ marks the lowest";
  return table(caption, head, rows);
}

function termsTable(set) {
  const rows = set.systems.flatMap((system) =>
    Object.entries(system.figures.terms ?? {}).map(([category, row]) => [
      isolated(`${system.name}: ${category}`),
      percent(row.m_wer), ends(row.m_wer_interval), percent(row.recall),
      percent(row.entity_recall), row.terms, row.substitutions, row.deletions,
      row.insertions,
    ].map((cell) => (typeof cell === "number" ? String(cell) : cell))));
  const head = ["terms", "M-WER %", "95 %", "recall %", "entity recall %",
    "terms", "S", "D", "inserted"];
  return rows.length ? table("Listed terms", head, rows) : null;
}

// A chart of one column's groups; of many groups the worst.
function groupTable(set, column, groups) {
  const rate = rateOf(set);
  const all = Object.entries(groups).filter(([, row]) => row[rate] !== null);
  let rows = all;
  if (all.length > MOST_GROUPS) {
    rows = [...all].sort((a, b) => b[1][rate] - a[1][rate])
      .slice(0, MOST_GROUPS);
  }
  const most = highest(rows.map(([, row]) => row), rate);
  const caption = `${rate.toUpperCase()} by ${column}`
    + (rows === all ? "" : `: the highest ${MOST_GROUPS} of ${all.length}`);
  return table(caption,
    [column, "", `${rate.toUpperCase()} %`, "95 %", "utterances", "words"],
    rows.map(([name, row]) => [
      isolated(name || "–"),
      plotInterval(row[rate], row[`${rate}_interval`], most),
      percent(row[rate]), ends(row[`${rate}_interval`]),
      row.utterances.toLocaleString("en"), row.words.toLocaleString("en"),
    ]));
}

// The most frequent errors; a click finds their utterances.
function errorLists(system, onchoose) {
  const lists = Object.entries(system.errors).map(([kind, errors]) => {
    const items = errors.map(([said, heard, times]) =>
      make("li", {}, make("button",
        { type: "button", onclick: () => onchoose([said, heard]) },
        errorMark(said, heard), ` ${times}×`)));
    return make("div", {}, make("h4", {}, kind),
      items.length ? make("ol", { tabindex: 0, "aria-label": kind }, ...items)
        : make("p", {}, "none"));
  });
  return make("div", { class: "errors" }, ...lists);
}
