// The page: curves, then each test set with its figures and utterances.

function notes(lines) {
  return make("ul", { class: "notes" }, ...lines.map((line) =>
    make("li", {}, isolated(line))));
}

function showSet(set) {
  const section = make("section", {},
    make("h2", {}, "Results on ", isolated(set.name)), notes(set.notes),
    systemsTable(set), termsTable(set));
  const details = make("div");
  const hasTexts = set.systems.some((system) => system.texts.length);
  const browser = hasTexts ? new UtteranceBrowser(set) : null;
  const showSystem = (index) => {
    const system = set.systems[index];
    const groups = Object.entries(system.groups);
    details.replaceChildren(
      ...(groups.length ? [make("h3", {}, "Groups"), make("div",
        { class: "groups" }, ...groups.map((group) =>
          groupTable(set, ...group)))] : []),
      ...(set.has_words && system.errors.substitutions ? [make("h3", {},
        "Most frequent errors"), errorLists(system, (pair) =>
        browser?.choosePair(pair))] : []));
    browser?.showSystem(system);
  };
  const names = set.systems.map((system, index) => [index, system.name]);
  const choice = select("Details of", names, showSystem);
  choice.querySelector("select").value = set.best;
  const hasDetails = set.systems.some(({ texts, groups }) =>
    texts.length || Object.keys(groups).length);
  if (names.length > 1 && hasDetails) section.append(choice);
  section.append(details);
  showSystem(set.best);
  if (browser) {
    section.append(make("h3", {}, "Utterances"), browser.element);
  }
  return section;
}

function showReport(report) {
  const place = document.getElementById("report");
  const personal = report.sets.some((set) => set.rows.length);
  place.replaceChildren(
    make("header", {},
      make("h1", {}, "Report of ", isolated(report.source)),
      make("p", {}, `nar-asr-lobes ${report.version}`),
      personal ? make("p", { class: "warning" }, "This file holds transcripts"
        + " of the test set, and audio where it was asked for: keep it where"
        + " these may be kept.") : null,
      notes(report.notes)),
    ...report.sets.map(showSet),
    report.curves.length ? make("section", {}, make("h2", {}, "Training"),
      make("div", { class: "curves" }, ...report.curves.map(chart))) : "");
}

showReport(JSON.parse(document.getElementById("contents").textContent));
