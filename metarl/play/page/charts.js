// The adaptation curve, the memory's attention and the belief about the task.

const NAMESPACE = "http://www.w3.org/2000/svg";
const W = 430, H = 262, LEFT = 42, RIGHT = 142, TOP = 12, BOTTOM = 34;

export function svg(name, attributes = {}, text = null) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

export const number = (x) => {
  const size = Math.abs(x);
  return x.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2).replace("-", "−");
};

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function ticks(low, high) {
  const rough = (high - low) / 4, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9; k++) found.push(Math.round(k * step * 1e6) / 1e6);
  return found;
}

/** The range that is shown: a reference far below everything else would flatten the rest, and stays outside. */
function range(curves, live) {
  const own = curves ? [...curves.policy.low, ...curves.policy.high] : [];
  const means = curves ? Object.values(curves.references).map((r) => [Math.min(...r.mean), Math.max(...r.mean)]) : [];
  const core = [...own, ...live.flat()];
  const best = Math.max(...means.map((m) => m[1]), ...core);
  const span = best - Math.min(...core);
  const shown = [...core, ...means.flat().filter((m) => !core.length || m > best - 2 * span - 1e-9)];
  let low = Math.min(...shown), high = Math.max(...shown);
  if (!Number.isFinite(low)) [low, high] = [0, 1];
  const margin = Math.max(0.06 * (high - low), 1e-3 * Math.max(1, Math.abs(high)));
  return [low - margin, high + margin];
}

/** Draw the curve: `live` are lists of returns, a list for each stage, or one number for each step. */
export function drawCurve(box, { names, curves, live, byStep, horizon, unit }) {
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}` });
  const count = byStep ? horizon : names.length;
  const values = live.map((v) => (Array.isArray(v) ? v : [v]));
  const core = byStep ? values : values.map((v) => [mean(v)]);
  const [low, high] = range(curves, core);
  const x = (k) => LEFT + (count === 1 ? 0.5 : k / (count - 1)) * (W - LEFT - RIGHT);
  const y = (v) => TOP + (high - Math.min(high, Math.max(low, v))) / (high - low) * (H - TOP - BOTTOM);
  const line = (ys) => "M" + ys.map((v, k) => `${x(k).toFixed(1)},${y(v).toFixed(1)}`).join("L");
  const band = (r) => line(r.high) + "L" + r.low.map((v, k) => `${x(k).toFixed(1)},${y(v).toFixed(1)}`).reverse().join("L") + "Z";
  const whole = (r) => (r.mean.length >= count ? r : Object.fromEntries(Object.entries(r).map(([k, v]) => [k, Array(count).fill(v[0])])));
  for (const tick of ticks(low, high)) {
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(tick), y2: y(tick) }));
    picture.append(svg("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, String(tick).replace("-", "−")));
  }
  const marks = byStep ? ticks(1, count).filter((k) => k >= 1 && k <= count && Number.isInteger(k)) : names.map((_, k) => k + 1);
  for (const k of marks) {
    const text = byStep ? k : unit === "episode" ? k : k - 1;
    picture.append(svg("text", { x: x(k - 1), y: H - BOTTOM + 18, "text-anchor": "middle" }, text));
  }
  const below = byStep ? "steps" : unit === "episode" ? "episode" : "gradient steps";
  picture.append(svg("text", { x: (LEFT + W - RIGHT) / 2, y: H - 1, "text-anchor": "middle" }, below));
  const labels = [];
  if (curves) {
    for (const [name, own] of Object.entries(curves.references)) {
      const r = whole(own), last = r.mean.at(-1);
      if (Math.max(...r.mean) < low) {
        labels.push({ y: H - BOTTOM, text: `${name} ${number(last)} ↓` });
        continue;
      }
      picture.append(svg("path", { class: "reference-band", d: band(r) }), svg("path", { class: "reference", d: line(r.mean) }));
      labels.push({ y: y(last), text: name });
    }
    picture.append(svg("path", { class: "policy-band", d: band(curves.policy) }), svg("path", { class: "policy", d: line(curves.policy.mean) }));
    labels.push({ y: y(curves.policy.mean.at(-1)), text: "this policy", own: true });
  }
  if (!byStep) values.forEach((lanes, k) => lanes.length > 1 && lanes.forEach((v) => v >= low && picture.append(svg("circle", { class: "lane", cx: x(k), cy: y(v), r: 2.5 }))));
  if (core.length) picture.append(svg("path", { class: "live", d: line(core.map((v) => v[0])) }));
  core.forEach((v, k) => (!byStep || k === core.length - 1) && picture.append(svg("circle", { class: "dot", cx: x(k), cy: y(v[0]), r: 5 })));
  place(labels);
  for (const { at, text, own } of labels) picture.append(svg("text", { class: own ? "own" : "", x: W - RIGHT + 10, y: at + 4 }, text));
  box.dataset.points = core.length;
  box.replaceChildren(picture);
}

/** Move labels apart: at least 15 units each, within the picture. */
function place(labels) {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, k) => (label.at = Math.max(label.y, k ? labels[k - 1].at + 15 : TOP)));
  let most = H - BOTTOM + 4;
  for (const label of [...labels].reverse()) {
    label.at = Math.min(label.at, most);
    most = label.at - 15;
  }
}

/** Bars over the earlier steps of a trial; `sizes` are the steps of its episodes so far, `slots` those of all. */
export function drawAttention(canvas, { shares, sizes, now, slots }) {
  const width = canvas.clientWidth, height = 84, ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const draw = canvas.getContext("2d");
  draw.scale(ratio, ratio);
  const total = Math.max(slots, shares.length), each = width / total, base = height - 18;
  const most = Math.max(1e-3, ...shares.slice(0, now));
  draw.fillStyle = "#e3e7ec";
  draw.fillRect(0, base, width, 1);
  draw.fillStyle = "#7a47a3";
  shares.forEach((share, k) => k < now && draw.fillRect(k * each, base - (share / most) * (base - 6), Math.max(1, each - (each > 3 ? 1 : 0)), (share / most) * (base - 6)));
  draw.fillStyle = "#5f6977";
  draw.font = "12px system-ui, sans-serif";
  let start = 0;
  sizes.forEach((size, k) => {
    draw.fillRect(start * each, base, 1, 6);
    if (sizes.length > 1 && size * each > 16) draw.fillText(size * each > 70 ? `episode ${k + 1}` : k + 1, start * each + 4, height - 4);
    start += size;
  });
  draw.fillStyle = "#1c2430";
  draw.beginPath();
  draw.moveTo((now + 0.5) * each, base + 2);
  draw.lineTo((now + 0.5) * each - 4, base + 9);
  draw.lineTo((now + 0.5) * each + 4, base + 9);
  draw.fill();
}

/** A row for each latent: its mean as a line in a band of ± one std, up to the step `now`; one scale, with room for 0 ± 1. */
export function drawBelief(canvas, { mean, std, sizes, now, slots }) {
  const latents = Math.min(8, mean[0].length), width = canvas.clientWidth, row = 34, ratio = devicePixelRatio || 1;
  const height = latents * row;
  canvas.style.height = `${height}px`;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const draw = canvas.getContext("2d");
  draw.scale(ratio, ratio);
  const most = mean.reduce((m, means, t) => Math.max(m, ...means.map((x, k) => Math.abs(x) + std[t][k])), 1);
  const each = width / slots, shown = Math.min(now + 1, mean.length), unit = (row / 2 - 2) / most;
  const trace = (k, sign, t) => [(t + 0.5) * each, (k + 0.5) * row - unit * (mean[t][k] + sign * std[t][k])];
  for (let k = 0; k < latents; k++) {
    const steps = [...Array(shown).keys()];
    draw.beginPath();
    for (const t of steps) draw.lineTo(...trace(k, 1, t));
    for (const t of steps.reverse()) draw.lineTo(...trace(k, -1, t));
    draw.fillStyle = "#d9c8e6";
    draw.fill();
    draw.fillStyle = "#e3e7ec";
    draw.fillRect(0, (k + 0.5) * row, width, 1);
    draw.beginPath();
    for (const t of steps.reverse()) draw.lineTo(...trace(k, 0, t));
    draw.strokeStyle = "#7a47a3";
    draw.lineWidth = 1.6;
    draw.stroke();
  }
  draw.fillStyle = "#5f6977";
  sizes.reduce((start, size) => (draw.fillRect(start * each, 0, 1, height), start + size), 0);
}
