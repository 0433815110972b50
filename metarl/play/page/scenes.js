// Pictures of a family from the numbers of its states, and how a task is set on them. Lengths are of a unit square.

const INK = "#1c2430", SOFT = "#5f6977", LINE = "#e3e7ec", LIVE = "#1f5fae", GOAL = "#d5522a", MEMORY = "#7a47a3";

function disc(draw, x, y, r, fill, stroke = null, width = 0.004) {
  draw.beginPath();
  draw.arc(x, y, r, 0, 2 * Math.PI);
  if (fill) (draw.fillStyle = fill), draw.fill();
  if (stroke) (draw.strokeStyle = stroke), (draw.lineWidth = width), draw.stroke();
}

function path(draw, points, stroke, width, alpha = 1) {
  if (points.length < 2) return;
  draw.globalAlpha = alpha;
  draw.beginPath();
  points.forEach(([x, y], k) => (k ? draw.lineTo(x, y) : draw.moveTo(x, y)));
  Object.assign(draw, { strokeStyle: stroke, lineWidth: width, lineJoin: "round", lineCap: "round" });
  draw.stroke();
  draw.globalAlpha = 1;
}

function target(draw, x, y, r) {
  disc(draw, x, y, 2.1 * r, "#fbe7df");
  disc(draw, x, y, r, null, GOAL, 0.28 * r);
  disc(draw, x, y, 0.36 * r, GOAL);
}

function words(draw, text, x, y, { size = 0.026, fill = SOFT, align = "left", bold = false } = {}) {
  draw.save();
  draw.scale(1 / 480, 1 / 480);  // browsers draw no letters below a pixel
  draw.font = `${bold ? 600 : 400} ${size * 480}px system-ui, sans-serif`;
  Object.assign(draw, { fillStyle: fill, textAlign: align, textBaseline: "middle" });
  draw.fillText(text, x * 480, y * 480);
  draw.restore();
}

/** Where the memory looks: a violet disc at each place of earlier steps, its area by the share. */
function looks(draw, shares, places, most) {
  const sums = new Map();
  shares.forEach((share, k) => {
    if (!places[k] || share < 0.004) return;
    const key = places[k].map((c) => c.toFixed(2)).join();
    sums.set(key, { at: places[k], share: (sums.get(key)?.share ?? 0) + share });
  });
  draw.globalAlpha = 0.28;
  for (const { at, share } of sums.values()) disc(draw, ...at, most * Math.sqrt(Math.min(1, share)), MEMORY);
  draw.globalAlpha = 1;
}

/** The places after each earlier step of the trial, in order. */
const after = (play, place) => [...play.earlier, play.stage].flatMap((s) => (s ? s.lanes[0].slice(1).map(place) : []));

const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
const arrows = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

const point = {
  hint: "Click the map to set the goal; arrow keys move it.",
  lanes: (states) => states.position,
  half: (config) => 1.25 * config.goal_scale,
  place: (config) => ([x, y]) => [0.5 + x / (2 * point.half(config)), 0.5 - y / (2 * point.half(config))],
  draw(draw, { config, task, play }) {
    const at = point.place(config), s = config.goal_scale, [left, top] = at([-s, s]), [right, bottom] = at([s, -s]);
    Object.assign(draw, { strokeStyle: LINE, lineWidth: 0.004 });
    draw.beginPath();
    if (config.goals === "box") draw.rect(left, top, right - left, bottom - top);
    else draw.arc(0.5, 0.5, (right - left) / 2, Math.PI, 2 * Math.PI);
    draw.stroke();
    if (config.reward === "sparse") disc(draw, ...at(task.goal), config.sparse_radius / (2 * point.half(config)), "#fbe7df");
    target(draw, ...at(task.goal), 0.018);
    disc(draw, 0.5, 0.5, 0.01, "#fff", SOFT);
    if (!play.stage) return disc(draw, 0.5, 0.5, 0.014, LIVE, "#fff", 0.005);
    if (play.trial) play.earlier.forEach((s) => path(draw, s.lanes[0].map(at), "#b9c0ca", 0.004));
    const now = (lane, k) => lane.slice(0, Math.min(play.step, play.stage.lengths[k]) + 1).map(at);
    play.stage.lanes.slice(1).forEach((lane, k) => path(draw, now(lane, k + 1), LIVE, 0.003, 0.22));
    play.stage.lanes.slice(1).forEach((lane, k) => disc(draw, ...now(lane, k + 1).at(-1), 0.006, "#9db9dc"));
    if (play.shares) looks(draw, play.shares, after(play, at), 0.09);
    const own = now(play.stage.lanes[0], 0);
    path(draw, own, LIVE, 0.006);
    disc(draw, ...at(task.goal), 0.022, null, GOAL, 0.005);  // again, above the paths
    disc(draw, ...own.at(-1), 0.015, LIVE, "#fff", 0.006);
  },
  set([x, y], { config, task }) {
    const h = point.half(config), place = (v) => Math.round(clamp(v, -2, 2) * 1000) / 1000;
    return { ...task, goal: [place((x - 0.5) * 2 * h), place((0.5 - y) * 2 * h)] };
  },
  key(key, { config, task }) {
    const by = arrows[key], step = config.goal_scale / 20;
    return by && { ...task, goal: task.goal.map((v, k) => Math.round(clamp(v + by[k] * step, -2, 2) * 1000) / 1000) };
  },
};

const gridworld = {
  hint: "Click a cell to put the goal there; arrow keys move it.",
  hidden: ["walls"],
  lanes: (states) => states.cell,
  size: (config) => 0.92 / Math.max(config.width, config.height),
  corner(config) {
    const size = gridworld.size(config);
    return [0.5 - (size * config.width) / 2, 0.5 - (size * config.height) / 2];
  },
  wall({ config, task }, row, column) {
    if (task.walls) return task.walls[row][column] === 1;
    const rows = config.layout.trim().split(/[/\n]+/).map((r) => r.trim());
    return rows.length === config.height && rows[row]?.[column] === "#";
  },
  draw(draw, { config, task, play }) {
    const size = gridworld.size(config), [left, top] = gridworld.corner(config);
    const centre = (row, column) => [left + (column + 0.5) * size, top + (row + 0.5) * size];
    const cell = (k) => centre(Math.floor(k / config.width), k % config.width);
    for (let row = 0; row < config.height; row++)
      for (let column = 0; column < config.width; column++) {
        draw.fillStyle = gridworld.wall({ config, task }, row, column) ? "#4a5463" : "#f1f3f6";
        draw.beginPath();
        draw.roundRect(left + (column + 0.04) * size, top + (row + 0.04) * size, 0.92 * size, 0.92 * size, 0.09 * size);
        draw.fill();
      }
    target(draw, ...centre(...task.goal), 0.18 * size);
    disc(draw, ...centre(...config.start), 0.07 * size, null, SOFT, 0.02 * size);
    if (!play.stage) return disc(draw, ...centre(...config.start), 0.2 * size, LIVE, "#fff", 0.03 * size);
    const shift = (k, lanes) => (lanes > 1 ? [0.26 * Math.sin(2.4 * k) * size * Math.sqrt(k / lanes), 0.26 * Math.cos(2.4 * k) * size * Math.sqrt(k / lanes)] : [0, 0]);
    if (play.trial) play.earlier.forEach((s) => path(draw, s.lanes[0].map(cell), "#c3cad4", 0.035 * size));
    if (play.shares) looks(draw, play.shares, after(play, cell), 0.5 * size);
    const lanes = play.stage.lanes;
    path(draw, lanes[0].slice(0, Math.min(play.step, play.stage.lengths[0]) + 1).map(cell), LIVE, 0.05 * size, 0.7);
    lanes.map((_, k) => k).reverse().forEach((k) => {
      const [x, y] = cell(lanes[k][Math.min(play.step, play.stage.lengths[k])]), [dx, dy] = shift(k, lanes.length);
      draw.globalAlpha = k ? 0.45 : 1;
      disc(draw, x + dx, y + dy, (lanes.length > 1 ? 0.1 : 0.2) * size, LIVE, "#fff", 0.03 * size);
      draw.globalAlpha = 1;
    });
  },
  set([x, y], { config, task }) {
    const size = gridworld.size(config), [left, top] = gridworld.corner(config);
    const [row, column] = [Math.floor((y - top) / size), Math.floor((x - left) / size)];
    const inside = row >= 0 && row < config.height && column >= 0 && column < config.width;
    return inside && !gridworld.wall({ config, task }, row, column) ? { ...task, goal: [row, column] } : null;
  },
  key(key, { config, task }) {
    const by = arrows[key];
    if (!by) return null;
    const [row, column] = [clamp(task.goal[0] - by[1], 0, config.height - 1), clamp(task.goal[1] + by[0], 0, config.width - 1)];
    return gridworld.wall({ config, task }, row, column) ? null : { ...task, goal: [row, column] };
  },
};

let arm = 0;  // that the arrow keys change

const bandit = {
  hint: "Drag a bar to set what an arm pays on average; or choose an arm with ↑ ↓ and change it with ← →.",
  hidden: ["mean"],
  lanes: (states) => states.pulls,
  bounds({ config, fields }) {
    if (config.rewards === "bernoulli") return [0, 1];
    const [low, high] = fields[0].typical, more = 0.1 * (high - low);
    return [Math.floor(low - more), Math.ceil(high + more)];
  },
  draw(draw, { config, task, play, fields, focused }) {
    const arms = task.mean.length, row = 0.86 / arms, bar = Math.min(0.6 * row, 0.075), [low, high] = bandit.bounds({ config, fields });
    const across = (v) => 0.1 + 0.27 * (clamp(v, low, high) - low) / (high - low), from = 0.45, wide = 0.5;
    const shown = play.stage ? Math.min(play.step, play.stage.rewards.length) : 0, best = Math.max(...task.mean);
    words(draw, "average reward", 0.1, 0.045);
    words(draw, config.rewards === "bernoulli" ? "pulls: filled where one paid" : "pulls: darker where one paid more", from, 0.045);
    task.mean.forEach((value, k) => {
      const y = 0.09 + (k + 0.5) * row, zero = across(Math.max(low, 0));
      if (arms <= 20) words(draw, `${k + 1}`, 0.065, y, { align: "right", bold: value === best, fill: focused && arm === k ? GOAL : SOFT });
      draw.fillStyle = "#f1f3f6";
      draw.fillRect(0.1, y - bar / 2, 0.27, bar);
      draw.fillStyle = value === best ? GOAL : "#efb9a5";
      draw.fillRect(Math.min(zero, across(value)), y - bar / 2, Math.abs(across(value) - zero), bar);
      if (focused && arm === k) Object.assign(draw, { strokeStyle: GOAL, lineWidth: 0.003 }), draw.strokeRect(0.1, y - bar / 2, 0.27, bar);
      draw.fillStyle = LINE;
      draw.fillRect(from, y - 0.001, wide, 0.002);
    });
    if (!play.stage) return;
    const total = play.stage.rewards.length, each = wide / total, radius = clamp(0.38 * each, 0.004, Math.min(0.016, 0.4 * row));
    const pulls = play.stage.lanes[0];
    for (let t = 0; t < shown; t++) {
      const k = pulls[t + 1].findIndex((n, i) => n > pulls[t][i]), y = 0.09 + (k + 0.5) * row, x = from + (t + 0.5) * each;
      const share = clamp((play.stage.rewards[t] - low) / (high - low), 0, 1);
      if (config.rewards === "bernoulli") disc(draw, x, y, radius, share > 0.5 ? LIVE : "#fff", LIVE, 0.003);
      else (draw.globalAlpha = 0.15 + 0.85 * share), disc(draw, x, y, radius, LIVE), (draw.globalAlpha = 1);
    }
    const sums = play.stage.states.rewards[0][shown];
    pulls[shown].forEach((n, k) => {
      const y = 0.09 + (k + 0.5) * row;
      if (n > 0) disc(draw, across(sums[k] / n), y, clamp(bar / 4, 0.004, 0.01), LIVE, "#fff", 0.004);
      if (arms <= 20) words(draw, n || "", from - 0.02, y, { align: "right" });
    });
    words(draw, "● what its pulls have paid on average", 0.1, 0.975, { fill: LIVE, size: 0.024 });
  },
  set([x, y], { config, task, fields }, dragged) {
    const k = dragged ?? Math.floor((y - 0.09) / (0.86 / task.mean.length));
    if (k < 0 || k >= task.mean.length || (dragged === undefined && x > 0.42)) return null;
    const [low, high] = bandit.bounds({ config, fields });
    arm = k;
    const value = clamp(low + ((x - 0.1) / 0.27) * (high - low), low, high);
    return { ...task, mean: task.mean.with(k, Math.round(value * 100) / 100) };
  },
  drag: () => arm,
  key(key, { config, task, fields }) {
    const [low, high] = bandit.bounds({ config, fields }), by = arrows[key];
    if (!by) return null;
    arm = clamp(arm - by[1], 0, task.mean.length - 1);
    return { ...task, mean: task.mean.with(arm, Math.round(clamp(task.mean[arm] + (by[0] * (high - low)) / 50, low, high) * 1000) / 1000) };
  },
};

const controlMap = {
  hint: "Turn the knobs: where an action to the right leads, and how far.",
  hidden: ["control"],
  lanes: (states) => states.position,
  draw(draw, { config, task, play }) {
    const half = 1.7 * config.goal_distance, at = ([x, y]) => [0.5 + x / (2 * half), 0.5 - y / (2 * half)];
    disc(draw, 0.5, 0.5, config.goal_distance / (2 * half), null, LINE);
    const [[a, b], [c, d]] = task.control[0], scale = 0.11 / Math.max(0.5, Math.hypot(a, c));
    for (const [x, y, name] of [[a, c, "→"], [b, d, "↑"]]) {
      path(draw, [[0.12, 0.87], [0.12 + x * scale * 0.7, 0.87 - y * scale * 0.7]], GOAL, 0.006);
      words(draw, name, 0.12 + x * scale, 0.87 - y * scale, { align: "center", fill: GOAL, size: 0.034 });
    }
    disc(draw, ...at([0, 0]), 0.01, "#fff", SOFT);
    if (!play.stage) return disc(draw, 0.5, 0.5, 0.015, LIVE, "#fff", 0.006);
    const pieces = (lane, upTo) => lane.slice(0, upTo + 1).reduce((all, p, t) => {
      if (t && config.reach && t % config.reach === 0) return [...all, [p]];
      all.at(-1).push(p);
      return all;
    }, [[]]);
    if (play.trial) play.earlier.forEach((s) => pieces(s.lanes[0], s.lengths[0]).forEach((p) => path(draw, p.map(at), "#b9c0ca", 0.004)));
    play.stage.lanes.slice(1).forEach((lane) => pieces(lane, play.step).forEach((p) => path(draw, p.map(at), LIVE, 0.003, 0.2)));
    target(draw, ...at(play.stage.states.goal[0][Math.min(play.step, play.stage.states.goal[0].length - 1)]), 0.018);
    if (play.shares) looks(draw, play.shares, after(play, at), 0.09);
    const own = pieces(play.stage.lanes[0], play.step);
    own.forEach((p) => path(draw, p.map(at), LIVE, 0.006));
    disc(draw, ...at(own.at(-1).at(-1)), 0.015, LIVE, "#fff", 0.006);
  },
};

/** By family; one that is not here is drawn by the server. */
export const scenes = { point, gridworld, "dark-room": gridworld, "bernoulli-bandit": bandit, "gaussian-bandit": bandit, "control-map": controlMap };
