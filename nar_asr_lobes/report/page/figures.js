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

// The counts behind the rate: headings and names.
function countsOf(set) {
  const counts = set.has_words
    ? [["S", "substitutions"], ["D", "deletions"], ["I", "insertions"],
      ["words", "words"]]
    : [["errors", "character_errors"], ["characters", "characters"]];
  return [...counts, ["utterances", "utterances"]];
}

function systemsTable(set) {
  const rate = rateOf(set);
  const figures = set.systems.map((system) => system.figures);
  const most = highest(figures, rate);
  const rates = rate === "wer" ? ["wer", "cer"] : ["cer", "wer"];
  const counts = countsOf(set);
  const others = [[`oracle ${rate.toUpperCase()} %`, `oracle_${rate}`, percent],
    ["real-time factor", "rtf", (value) => value.toFixed(3)]]
    .filter(([, name]) => figures.some((row) => name in row));
  const head = ["", "", ...rates.flatMap((name) =>
    [`${name.toUpperCase()} %`, "95 %"]), ...counts.map(([title]) => title),
  ...others.map(([title]) => title)];
  const rows = set.systems.map((system, index) => {
    const row = system.figures;
    return [
      isolated(system.name + (index === set.best ? " ★" : "")),
      plotInterval(row[rate], row[`${rate}_interval`], most),
      ...rates.flatMap((name) =>
        [percent(row[name]), ends(row[`${name}_interval`])]),
      ...counts.map(([, name]) => row[name]?.toLocaleString("en") ?? "–"),
      ...others.map(([, name, show]) => (name in row ? show(row[name]) : "–")),
    ];
  });
  const caption = "Error rates; lines are 95 % intervals, ★ marks the lowest";
  return table(caption, head, rows);
}

// Error rates of listed terms and of negations.
function termsTable(set) {
  const row = (name, rate, found) => [isolated(name), percent(found[rate]),
    ends(found[`${rate}_interval`]), percent(found.recall ?? null),
    percent(found.entity_recall ?? null),
    ...["substitutions", "deletions", "insertions"].map((kind) =>
      String(found[kind])), String(found.terms ?? found.negations)];
  const rows = set.systems.flatMap(({ name, figures }) => [
    ...Object.entries(figures.terms ?? {}).map(([category, found]) =>
      row(`${name}: ${category}`, "m_wer", found)),
    ...(figures.negations
      ? [row(`${name}: negations`, "rate", figures.negations)] : []),
  ]);
  const head = ["", "errors %", "95 %", "recall %", "entity recall %", "S", "D",
    "inserted", "terms"];
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
      isolated(name || "no value"),
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
