// The page: choose a policy, set a task, watch the policy adapt.

import { drawAttention, drawBelief, drawCurve, number } from "./charts.js";
import { scenes } from "./scenes.js";
import { showEditor } from "./tasks.js";

const $ = (id) => document.getElementById(id);
const now = { policies: [], details: null, task: null, trial: null, stages: [], shown: -1, step: 0, curves: null, running: false, run: 0 };
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

async function call(name, asked = null) {
  const request = asked === null ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) };
  let answer, content;
  try {
    answer = await fetch(`api/${name}`, request);
    content = await answer.json();
  } catch {
    throw new Error("The server does not answer; was metarl play ended?");
  }
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

const guarded = (action) => (...given) => Promise.resolve(action(...given)).catch((error) => (stop(), say(error.message, true)));

const scene = () => scenes[now.details?.family];
const setting = () => ({ ...now.details, task: now.task });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// --- what is shown ---

function playing() {
  const stage = now.stages[now.shown] ?? null;
  const earlier = now.stages.slice(0, Math.max(0, now.shown)), done = earlier.reduce((sum, s) => sum + s.rewards.length, 0);
  const shares = stage?.attention?.[Math.min(now.step, stage.attention.length - 1)] ?? null;
  return { stage, earlier, step: now.step, trial: now.details.trial, shares, done };
}

function show() {
  if (!now.details || !now.task) return;
  const play = playing(), canvas = $("scene"), ratio = devicePixelRatio || 1, size = canvas.clientWidth;
  $("stage-name").textContent = play.stage ? title(now.shown) : "Before it begins";
  $("step").textContent = play.stage ? `step ${Math.min(now.step, play.stage.rewards.length)} of ${play.stage.rewards.length}` : "";
  if (scene()) {
    canvas.width = canvas.height = Math.round(size * ratio);
    const draw = canvas.getContext("2d");
    draw.scale(canvas.width, canvas.height);
    scene().draw(draw, { ...setting(), play, focused: document.activeElement === canvas });
  }
  showCharts(play);
}

function showCharts(play) {
  const d = now.details;
  let sum = 0;
  const upTo = now.running || now.shown < now.stages.length - 1 ? now.step : Infinity;
  const live = d.by_step
    ? (play.stage?.rewards.slice(0, upTo) ?? []).map((r, t) => (sum += r) / (t + 1))
    : now.stages.filter((s, k) => s.seen || k < now.shown).map((s) => s.returns);
  drawCurve($("curve"), { names: d.stages, curves: now.curves, live, byStep: d.by_step, horizon: d.horizon, unit: d.trial ? "episode" : "step" });
  $("memory").hidden = !now.stages.some((s) => s.attention) && !(d.trial && now.attends);
  now.attends = !$("memory").hidden;
  if (play.shares) {
    const sizes = [...play.earlier, play.stage].map((s) => s.rewards.length);
    drawAttention($("attention"), { shares: play.shares, sizes, now: play.done + Math.min(now.step, play.stage.rewards.length - 1), slots: d.horizon * d.stages.length });
  }
  const steps = [...play.earlier, ...(play.stage ? [play.stage] : [])];
  $("beliefs").hidden = !steps.some((s) => s.belief);
  if (!$("beliefs").hidden) {
    const [mean, std] = [0, 1].map((part) => steps.flatMap((s) => s.belief[part]));
    drawBelief($("belief"), { mean, std, sizes: steps.map((s) => s.rewards.length), now: play.done + now.step, slots: d.horizon * d.stages.length });
  }
  const rows = d.stages.map((_, k) => {
    const stage = now.stages[k], button = document.createElement("button"), value = document.createElement("span");
    button.type = "button";
    button.disabled = !stage?.seen || now.running;
    button.setAttribute("aria-current", k === now.shown);
    value.textContent = stage?.seen ? number(stage.returns.reduce((a, b) => a + b, 0) / stage.returns.length) : "";
    button.append(title(k), value);
    button.addEventListener("click", guarded(() => replay(k)));
    const row = document.createElement("li");
    row.append(button);
    return row;
  });
  $("stages").replaceChildren(...rows);
}

function title(k) {
  const name = now.details.stages[k];
  if (!now.details.trial) return k === 0 ? "Before adaptation" : name.replace("after", "After").replace("step", "gradient step");
  return name[0].toUpperCase() + name.slice(1);
}

// --- playing ---

async function animate(run) {
  const stage = now.stages[now.shown], total = stage.rewards.length, frames = !scene();
  const stride = Math.max(1, Math.ceil(total / (frames ? 40 : 100)));
  for (now.step = 0; ; now.step = Math.min(total, now.step + stride)) {
    const speed = Number($("speed").value);
    if (still || speed >= 100) now.step = total;
    if (frames) await frame();
    if (run !== now.run) return false;
    if (now.step === total) stage.seen = true;
    show();
    if (now.step === total) break;
    await sleep(Math.max(16, Math.min(4500, Math.max(1800, total * 130)) / (total / stride) / speed));
    if (run !== now.run) return false;
  }
  return true;
}

async function frame() {
  const image = new Image(), canvas = $("scene");
  image.src = now.shown < 0 ? "" : `api/frame?trial=${now.trial}&stage=${now.shown}&step=${now.step}`;
  await image.decode();
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").drawImage(image, 0, 0);
}

function stop() {
  now.run++;
  now.running = false;
  if (now.shown >= 0 && now.stages[now.shown]) {
    now.stages[now.shown].seen = true;
    now.step = now.stages[now.shown].rewards.length;
  }
  buttons();
}

function buttons() {
  const over = now.details && now.stages.length === now.details.stages.length;
  $("play").textContent = now.running ? "Pause" : over ? "Watch again" : now.stages.length ? "Go on" : "Watch it adapt";
  $("next").textContent = now.details?.trial ? "One episode" : "One step";
  $("next").disabled = now.running || over || !now.task;
  $("play").disabled = !now.task;
}

async function play(most = Infinity) {
  const run = ++now.run;
  if (now.stages.length === now.details.stages.length) reset();
  now.running = true;
  buttons();
  say("");
  if (!now.trial) {
    const { trial } = await call("begin", { policy: now.details.id, task: now.task });
    if (run !== now.run) return;
    now.trial = trial;
  }
  for (let k = 0; k < most && now.stages.length < now.details.stages.length; k++) {
    say(now.details.trial ? "The policy plays." : `The policy plays ${now.details.lanes} episodes.`);
    const stage = await call("play", { trial: now.trial });
    if (run !== now.run && !now.trial) return;  // another task was set meanwhile
    stage.lanes = scene()?.lanes(stage.states);
    now.stages.push(stage);
    now.shown = stage.index;
    if (run !== now.run) return stop(), show();
    if (!(await animate(run))) return;
    const earned = stage.returns.reduce((a, b) => a + b, 0) / stage.returns.length;
    say(`${title(stage.index)}: return ${number(earned)}${stage.returns.length > 1 ? `, the mean of ${stage.returns.length} episodes` : ""}.`);
    if (!stage.done && k + 1 < most) await sleep(still ? 0 : Math.min(700, 700 / Number($("speed").value)));
    if (run !== now.run) return;
  }
  now.running = false;
  buttons();
  show();
}

async function replay(k) {
  const run = ++now.run;
  now.shown = k;
  await animate(run);
}

function reset() {
  Object.assign(now, { trial: null, stages: [], shown: -1, step: 0, running: false });
  now.run++;
  if (!scene()) blank();
}

function blank() {
  const canvas = $("scene"), draw = canvas.getContext("2d");
  canvas.width = canvas.height = 480;
  Object.assign(draw, { fillStyle: "#5f6977", font: "15px system-ui, sans-serif", textAlign: "center" });
  draw.fillText("Frames appear here once the policy plays.", 240, 240);
}

// --- choosing ---

let pending = 0;

async function setTask(task, by) {
  reset();
  now.task = task;
  if (by !== "editor") editor();  // whose knob may still be turning
  say("");
  buttons();
  show();
  const mine = ++pending;
  await sleep(by === "sample" ? 0 : 250);
  if (mine !== pending) return;
  const curves = await call("curves", { policy: now.details.id, task });
  if (mine !== pending) return;
  now.curves = curves;
  show();
}

function editor() {
  showEditor($("editor"), now.details, now.task, scene() ?? {}, guarded((task) => setTask(task, "editor")));
}

async function sample() {
  const mine = ++pending;
  const { task } = await call("sample", { policy: now.details.id, split: $("split").value });
  if (mine !== pending) return;
  await setTask(task, "sample");
}

async function choose(id) {
  const mine = ++pending;
  reset();
  Object.assign(now, { details: null, task: null, curves: null, attends: false });
  buttons();
  for (const old of ["curve", "stages", "editor"]) $(old).replaceChildren();
  const d = await call(`policy?policy=${encodeURIComponent(id)}`);
  if (mine !== pending) return;  // another one was chosen meanwhile
  now.details = d;
  $("method").textContent = d.trial ? `${d.method} adapts by its memory, over ${d.by_step ? "one episode" : `${d.stages.length} episodes`}.` : `${d.method} adapts by gradient steps, each on ${d.lanes} episodes.`;
  $("hint").textContent = scene()?.hint ?? "Set the numbers that this family hides from the policy.";
  $("scene").classList.toggle("editable", Boolean(scene()?.set));
  $("scene").setAttribute("aria-label", `Scene of ${d.family}`);
  $("curve-about").textContent = `${d.by_step ? "Mean reward per step so far" : d.trial ? "Return of each episode" : "Return after each gradient step"}: here (bold), in many runs of this policy on this task, and of references, with 95 % intervals of the mean.`;
  $("split").replaceChildren(...Object.keys(d.splits).map((name) => new Option(name, name, false, name === "test")));
  splitAbout();
  await sample();
}

const splitAbout = () => ($("split-about").textContent = `${$("split").value}: ${now.details.splits[$("split").value]}.`);

function fill(first = null) {
  const family = $("family").value;
  const group = (label, shipped) => {
    const element = Object.assign(document.createElement("optgroup"), { label });
    element.append(...now.policies.filter((p) => p.family === family && p.shipped === shipped).map((p) => new Option(p.id, p.id)));
    return element.children.length ? [element] : [];
  };
  $("policy").replaceChildren(...group("Your runs", false), ...group("Come with the package", true));
  if (first && first.family === family) $("policy").value = first.id;
  return choose($("policy").value);
}

$("family").addEventListener("change", guarded(() => fill()));
$("policy").addEventListener("change", guarded(() => choose($("policy").value)));
$("split").addEventListener("change", splitAbout);
$("sample").addEventListener("click", guarded(sample));
$("play").addEventListener("click", guarded(() => (now.running ? (stop(), say("Paused."), show()) : play())));
$("next").addEventListener("click", guarded(() => play(1)));
addEventListener("resize", () => (scene() ? show() : now.details && showCharts(playing())));

let dragged;
const where = (event) => {
  const box = $("scene").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
const place = guarded((event) => {
  const task = now.task && scene()?.set?.(where(event), setting(), dragged);
  if (task) return setTask(task, "scene");
});
$("scene").addEventListener("pointerdown", (event) => {
  dragged = undefined;
  if (!now.task || !scene()?.set?.(where(event), setting())) return;
  $("scene").setPointerCapture(event.pointerId);
  place(event);
  dragged = scene().drag?.();
});
$("scene").addEventListener("pointermove", (event) => event.buttons && place(event));
$("scene").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") return event.preventDefault(), $("play").click();
  const task = now.task && scene()?.key?.(event.key, setting());
  if (task) event.preventDefault(), guarded(setTask)(task, "scene");
});
$("scene").addEventListener("focus", show);
$("scene").addEventListener("blur", show);

guarded(async () => {
  now.policies = await call("policies");
  const families = [...new Set(now.policies.map((p) => p.family))];
  $("family").replaceChildren(...families.map((name) => new Option(name, name)));
  const own = now.policies.find((p) => !p.shipped);
  const first = own ?? now.policies.find((p) => p.id === "metanet-gridworld") ?? now.policies[0];
  $("family").value = first.family;
  await fill(first);
})();
