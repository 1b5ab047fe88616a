// Draws what the devices send and the customers get.
import { by, make, say, show } from './dom.js';
import { model, piece } from './model.js';
import { count, millis, plural, rate } from './words.js';

const span = 120; // seconds that are drawn

const tiles = [
  ['published', 'published', l => rate(l.published_msg_s), s => s.published],
  ['delivered', 'delivered', l => rate(l.delivered_msg_s), s => s.delivered],
  ['under-way', 'under way', l => count(l.under_way), s => Math.max(0, s.under_way)],
  ['p50', 'latency p50', l => millis(l.latency_p50_ms), s => s.p50],
  ['p99', 'latency p99', l => millis(l.latency_p99_ms), s => s.p99],
  ['lateness', 'lateness p99', l => millis(l.lateness_p99_ms), null],
].map(([id, label, value, at]) => ({ id, label, value, at }));

const svg = 'http://www.w3.org/2000/svg';

function tile(t) {
  const value = make('b'), e = make('div', 'tile', make('span', 'faint small', t.label), value);
  value.id = t.id;
  if (t.at) {
    t.path = document.createElementNS(svg, 'path');
    const chart = document.createElementNS(svg, 'svg');
    chart.setAttribute('viewBox', `0 0 ${span} 100`);
    chart.setAttribute('preserveAspectRatio', 'none');
    chart.setAttribute('aria-hidden', 'true');
    chart.append(t.path);
    e.append(chart);
  }
  t.shown = value;
  return e;
}

// line is an SVG path from 0 to the largest value; a second without one breaks it.
function line(seconds, newest, at) {
  const top = Math.max(...seconds.map(s => at(s) ?? 0), 1e-9);
  let path = '', before = null;
  for (const s of seconds) {
    const v = at(s), x = span - 1 - (newest - s.t);
    if (v == null || x < 0) continue;
    path += `${before === s.t - 1 ? 'L' : 'M'}${x} ${(100 - 96 * Math.max(0, v) / top).toFixed(1)}`;
    before = s.t;
  }
  return path;
}

export function drawLoad() {
  const load = piece('load'), run = piece('run');
  show(by('load-section'), !!load);
  if (!load || !run) return;
  if (!by('tiles').children.length) by('tiles').append(...tiles.map(tile));
  const published = make('span', '', count(load.published_total)), delivered = make('span', '', count(load.delivered_total));
  published.id = 'published-total';
  delivered.id = 'delivered-total';
  by('load-text').dataset.second = load.t_s;
  by('load-text').replaceChildren(`second ${load.t_s}, ${load.phase} · ${plural(load.devices, 'device')}, ${plural(load.customers, 'customer')} · published `, published, ' · delivered ', delivered);
  const seconds = model.seconds.filter(s => s.position === load.position).sort((a, b) => a.t - b.t).slice(-span);
  const newest = seconds.at(-1)?.t ?? 0;
  for (const t of tiles) {
    say(t.shown, t.value(load));
    t.path?.setAttribute('d', line(seconds, newest, t.at));
  }
  drawHeat(seconds, newest, run.bounds);
}

// drawHeat paints a column a second and a row a band of latency: the darker, the
// larger its share of the second's messages.
function drawHeat(seconds, newest, bounds) {
  const canvas = by('heat'), bands = bounds.length + 1, context = canvas.getContext('2d');
  canvas.width = span; canvas.height = bands;
  const colour = getComputedStyle(document.documentElement).getPropertyValue('--heat');
  for (const s of seconds) {
    const x = span - 1 - (newest - s.t), sum = s.bands?.reduce((a, b) => a + b, 0) ?? 0;
    if (x < 0 || !sum) continue;
    s.bands.forEach((n, i) => {
      if (!n) return;
      // One message of many must still be seen.
      context.fillStyle = `rgba(${colour}, ${0.18 + 0.82 * Math.sqrt(n / sum)})`;
      context.fillRect(x, bands - 1 - i, 1, 1);
    });
  }
  const scale = by('heat-scale');
  if (!scale.children.length) bounds.forEach((b, i) => {
    if (i % 2 === 0) return;
    const label = make('span', '', b >= 1000 ? `${b / 1000} s` : `${b} ms`);
    label.style.bottom = `${(i + 1) / bands * 100}%`;
    scale.append(label);
  });
  say(by('heat-text'), `the last ${Math.min(seconds.length, span)} s, newest at the right`);
}
