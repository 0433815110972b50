// Editors of a task, in the panel: a dial for a number, fields for several, the map's rotation for control-map.

import { svg } from "./charts.js";

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const short = (x) => String(Math.round(x * 1000) / 1000);

/** A knob that turns from -135° to 135°, and a field beside it. */
function dial({ label, low, high, value, change }) {
  const step = (high - low) / 100;
  const field = make("input", { type: "number", step: "any" });
  field.setAttribute("aria-label", label);
  const knob = svg("svg", { viewBox: "-50 -50 100 100", tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": low, "aria-valuemax": high });
  const at = (v, r) => {
    const angle = ((-135 + 270 * (Math.min(high, Math.max(low, v)) - low) / (high - low)) * Math.PI) / 180;
    return [r * Math.sin(angle), -r * Math.cos(angle)];
  };
  const arc = (to) => {
    const [a, b] = [at(low, 42), at(to, 42)];
    return `M${a}A42,42 0 ${(to - low) / (high - low) > 2 / 3 ? 1 : 0} 1 ${b}`;
  };
  const track = svg("path", { class: "track", d: arc(high) }), filled = svg("path", { class: "value" });
  const hand = svg("line", { class: "hand" });
  knob.append(track, filled, svg("circle", { class: "knob", r: 31 }), hand);
  const show = (v) => {
    filled.setAttribute("d", arc(Math.min(high, Math.max(low + 1e-6, v))));
    const [x1, y1] = at(v, 16), [x2, y2] = at(v, 26);
    for (const [key, c] of Object.entries({ x1, y1, x2, y2 })) hand.setAttribute(key, c);
    knob.setAttribute("aria-valuenow", short(v));
    field.value = short(v);
    value = v;
  };
  const set = (v) => (show(v), change(v));
  const turn = (event) => {
    const box = knob.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    const angle = (Math.atan2(x, -y) * 180) / Math.PI;
    set(low + ((Math.max(-135, Math.min(135, angle)) + 135) / 270) * (high - low));
  };
  knob.addEventListener("pointerdown", (event) => (knob.setPointerCapture(event.pointerId), turn(event)));
  knob.addEventListener("pointermove", (event) => event.buttons && turn(event));
  knob.addEventListener("keydown", (event) => {
    const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (!by) return;
    event.preventDefault();
    set(Math.max(low, Math.min(high, value + by * step)));
  });
  field.addEventListener("change", () => Number.isFinite(field.valueAsNumber) && set(field.valueAsNumber));
  show(value);
  return make("div", { className: "dial" }, knob, make("div", {}, make("b", { textContent: label }), field));
}

/** The typical range of a field, a little widened, within what is allowed. */
function around(field) {
  const [low, high] = field.typical, more = 0.25 * (high - low || 1);
  return [Math.max(field.low ?? -Infinity, low - more), Math.min(field.high ?? Infinity, high + more)];
}

const words = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

function numbers(field, task, change) {
  const meaning = field.meaning.replace(/^u?int\d+: /, "");
  const label = words(field.name) + (meaning && meaning.length < 24 ? ` (${meaning})` : "");
  const value = task[field.name], flat = [value].flat(Infinity);
  if (!field.shape.length && !field.whole) {
    const [low, high] = around(field);
    return dial({ label, low, high, value, change: (v) => change(v) });
  }
  const box = make("div", {}, make("label", { textContent: label }));
  if (flat.length > 24) {
    const text = make("textarea", { value: JSON.stringify(value), spellcheck: false });
    text.setAttribute("aria-label", label);
    text.addEventListener("change", () => {
      try {
        change(JSON.parse(text.value));
      } catch {
        change(text.value);  // the server says what is wrong
      }
    });
    box.append(text);
    return box;
  }
  const grid = make("div", { className: "numbers" });
  flat.forEach((v, k) => {
    const input = make("input", { type: "number", value: short(v), step: field.whole ? 1 : "any" });
    input.setAttribute("aria-label", `${label} ${k + 1}`);
    input.addEventListener("change", () => {
      flat[k] = input.valueAsNumber;
      change(field.shape.reduceRight((rest, n) => (rest.length === n ? rest : chunks(rest, n)), [...flat]));
    });
    grid.append(input);
  });
  box.append(grid);
  return box;
}

const chunks = (list, n) => Array.from({ length: list.length / n }, (_, k) => list.slice(k * n, (k + 1) * n));

/** Rotation, gain and reflection of the first map, for all goals of an episode. */
function controlMap(details, task, set) {
  const [[a, b], [c, d]] = task.control[0], sign = a * d - b * c < 0 ? -1 : 1;
  const now = { gain: Math.hypot(a, c), turn: (Math.atan2(c, a) * 180) / Math.PI, sign };
  const change = (part) => {
    Object.assign(now, part);
    const [cos, sin] = [Math.cos, Math.sin].map((f) => now.gain * f((now.turn * Math.PI) / 180));
    set({ control: task.control.map(() => [[cos, -now.sign * sin], [sin, now.sign * cos]]) });
  };
  const mirrored = make("input", { type: "checkbox", checked: sign < 0 });
  mirrored.addEventListener("change", () => change({ sign: mirrored.checked ? -1 : 1 }));
  return [
    dial({ label: "Rotation (°)", low: -180, high: 180, value: now.turn, change: (turn) => change({ turn }) }),
    dial({ label: "Gain", low: 0.25, high: 2, value: now.gain, change: (gain) => change({ gain }) }),
    make("label", { className: "check" }, mirrored, "Mirrored"),
  ];
}

/** Fill the panel with what sets the task; the scene itself sets what it `covers`. */
export function showEditor(box, details, task, covers, set) {
  if (details.family === "control-map") return box.replaceChildren(...controlMap(details, task, set));
  const fields = details.fields.filter((field) => !covers.hidden?.includes(field.name));
  box.replaceChildren(...fields.map((field) => numbers(field, task, (value) => set({ ...task, [field.name]: value }))));
}
