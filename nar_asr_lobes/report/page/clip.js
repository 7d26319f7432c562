// The audio of an utterance, its spectrogram and the times of its words.

const PIXELS_A_SECOND = 110;

function drawSpectrogram(canvas, clip) {
  const levels = Uint8Array.from(atob(clip.spectrogram), (sign) =>
    sign.charCodeAt(0));
  const { bands } = clip;
  const frames = levels.length / bands;
  canvas.width = frames;
  canvas.height = bands;
  const image = new ImageData(frames, bands);
  levels.forEach((level, index) => {
    const row = bands - 1 - (index % bands);
    const at = 4 * (row * frames + Math.floor(index / bands));
    image.data.fill(255 - level, at, at + 3); // loud is dark
    image.data[at + 3] = 255;
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// S, I or "" of each word of the hypothesis, as `words` has them.
function marksOf(text) {
  return text.flatMap((part) => {
    if (typeof part === "string") return part.split(" ").map(() => "");
    if (!part[1]) return [];
    return [part[0] ? "S" : "I"];
  });
}

function wordButton([start, end, text], mark, seconds, onclick) {
  const button = make("button", { type: "button", class: `word ${mark}`,
    title: `${text} ${start.toFixed(2)} to ${end.toFixed(2)} s`, onclick },
  isolated(text), mark ? make("sup", {}, mark) : null);
  button.style.left = `${(100 * start) / seconds}%`;
  button.style.width = `${(100 * (end - start)) / seconds}%`;
  return button;
}

function timeAxis(seconds) {
  return make("div", { class: "times", "aria-hidden": "true" },
    ...ticks(0, seconds, seconds).map((second) => {
      const label = make("span", {}, `${second} s`);
      label.style.left = `${(100 * second) / seconds}%`;
      return label;
    }));
}

function showClip(clip, words, text) {
  const audio = make("audio", { controls: "", preload: "metadata",
    src: clip.audio });
  const head = make("div", { class: "playhead" });
  const canvas = make("canvas", { role: "img", "aria-label":
    `spectrogram, 0 to 8 kHz, ${clip.seconds.toFixed(1)} seconds` });
  drawSpectrogram(canvas, clip);
  const follow = () => {
    head.style.left = `${(100 * audio.currentTime) / clip.seconds}%`;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  for (const name of ["play", "seeked"]) audio.addEventListener(name, follow);
  const marks = marksOf(text);
  const known = marks.length === (words ?? []).length;
  const buttons = (words ?? []).map((word, index) =>
    wordButton(word, known ? marks[index] : "", clip.seconds, () => {
      [audio.currentTime] = word;
      audio.play();
    }));
  const inside = make("div", { class: "spectrogram" }, canvas, head,
    timeAxis(clip.seconds), make("div", { class: "words" }, ...buttons));
  inside.style.width = `max(100%, ${clip.seconds * PIXELS_A_SECOND}px)`;
  return make("div", { class: "clip" }, audio,
    make("div", { class: "scroll", tabindex: 0, role: "region",
      "aria-label": "spectrogram and words" }, inside));
}
