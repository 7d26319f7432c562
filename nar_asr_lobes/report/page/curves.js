// Line charts of a training, drawn anew when their width changes.

const CHART_HEIGHT = 200;
const MARGIN = { left: 52, right: 22, top: 8, bottom: 24 };

function shortNumber(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 10000) return `${Number((value / 1000).toPrecision(3))}k`;
  return size < 0.001 ? value.toExponential(1) : String(Number(
    value.toPrecision(3)));
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((s) => s * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i += 1) {
    found.push(i * step);
  }
  return found;
}

// Where values from low to high lie between two ends of the chart.
function scale([low, high], [from, to]) {
  const width = high - low || 1;
  return (value) => from + ((value - low) / width) * (to - from);
}

function limits(values) {
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  return [low >= 0 && low < high / 2 ? 0 : low, high];
}

function drawChart(series, width) {
  const points = series.flatMap((line) => line.points);
  const right = width - MARGIN.right;
  const bottom = CHART_HEIGHT - MARGIN.bottom;
  const xLimits = limits(points.map(([x]) => x));
  const yLimits = limits(points.map(([, y]) => y));
  const x = scale(xLimits, [MARGIN.left, right]);
  const y = scale(yLimits, [bottom, MARGIN.top]);
  const label = (text, attributes) => makeSvg("text", attributes, text);
  const axes = [
    ...ticks(...yLimits, 4).flatMap((value) => [
      makeSvg("line", { x1: MARGIN.left, x2: right, y1: y(value),
        y2: y(value) }),
      label(shortNumber(value), { x: MARGIN.left - 6, y: y(value) + 4,
        "text-anchor": "end" })]),
    ...ticks(...xLimits, Math.max(2, width / 90)).map((value) =>
      label(shortNumber(value), { x: x(value), y: CHART_HEIGHT - 6,
        "text-anchor": "middle" })),
  ];
  const lines = series.map((line) => {
    const places = line.points.map(([a, b]) => [x(a), y(b)]);
    const dots = line.points.length > 60 ? [] : places.map(([cx, cy]) =>
      makeSvg("circle", { cx, cy, r: 2.5 }));
    return makeSvg("g", { class: line.name }, makeSvg("polyline", {
      points: places.map((place) => place.join(",")).join(" ") }), ...dots);
  });
  return makeSvg("svg", { width, height: CHART_HEIGHT, role: "img",
    "aria-label": series.map(describeLine).join("; ") },
  makeSvg("g", { class: "axes" }, ...axes), ...lines);
}

function describeLine({ name, points }) {
  const [step, last] = points[points.length - 1];
  const best = points.reduce((a, b) => (b[1] < a[1] ? b : a));
  return `${name}: ${shortNumber(last)} at step ${step}, `
    + `lowest ${shortNumber(best[1])} at step ${best[0]}`;
}

function chart(curve) {
  const series = ["train", "valid"]
    .map((name) => ({ name, points: curve[name] }))
    .filter((line) => line.points.length);
  const place = make("div", { class: "chart" });
  new ResizeObserver(() => {
    const width = place.clientWidth;
    if (width && Number(place.firstChild?.getAttribute("width")) !== width) {
      place.replaceChildren(drawChart(series, width));
    }
  }).observe(place);
  return make("figure", {},
    make("h3", {}, curve.name), place,
    make("figcaption", {}, ...series.map((line) =>
      make("p", { class: line.name }, describeLine(line)))));
}
