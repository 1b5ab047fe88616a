// Draws the run, the matrix, the machines and the messages.
import { by, gauge, make, rows, say, show } from './dom.js';
import { all, model, piece } from './model.js';
import { bytes, clock, length, mib, millis, plural, rate, short } from './words.js';

const signs = { pending: '·', running: '▸', valid: '✓', degraded: '~', invalid: '✗', skipped: '–' };

export function drawRun() {
  const run = piece('run'), cell = piece('cell'), { now, elapsed, left } = model.head;
  if (!run) return;
  document.title = `${run.done}/${run.cells} ${run.experiment} · bela`;
  say(by('experiment'), run.experiment);
  say(by('run-name'), run.run + (run.lab ? ' · loopback lab' : ''));
  say(by('times'), `${run.done} of ${plural(run.cells, 'cell')} done · ${clock(elapsed)}` + (left != null && !run.finished ? ` · about ${clock(left)} left` : ''));
  const share = run.cells ? run.done / run.cells * 100 : 0;
  by('progress').firstElementChild.style.width = `${share}%`;
  by('progress').setAttribute('aria-valuenow', Math.round(share));
  show(by('finished'), !!run.finished);
  if (run.finished) {
    const f = run.finished;
    by('finished').className = f.status ? 'notice warn' : 'notice';
    say(by('finished'), `finished with status ${f.status}: ${f.reason} — ${f.valid} valid, ${f.degraded} degraded, ${f.invalid} invalid, ${f.missing} missing; results in ${f.directory}`);
  }
  drawCell(run, cell, now);
}

function drawCell(run, cell, now) {
  show(by('cell-section'), !run.finished);
  say(by('cell-title'), cell ? `cell ${cell.position}/${run.cells}` : 'cell');
  const more = cell ? (run.repeated ? ` · repetition ${cell.repetition}` : '') + (cell.attempt > 1 ? ` · attempt ${cell.attempt}` : '') : '';
  say(by('cell-label'), cell ? (cell.label || '') + more : run.cells ? 'between cells' : 'waiting for the run to start');
  const at = cell ? run.phases.indexOf(cell.phase) : -1;
  rows(by('phases'), run.phases.map((name, i) => ({ name, i })), p => p.name, p => make('li', '', p.name),
    (e, p) => { e.className = p.i === at ? 'now' : p.i < at ? 'past' : ''; });
  const timed = cell && cell.phase_started;
  show(by('phase-bar'), !!timed);
  show(by('phase-text'), !!timed);
  if (timed) {
    const passed = Math.max(0, now - cell.phase_started);
    by('phase-bar').className = cell.fixed ? 'bar' : 'bar soft';
    by('phase-bar').firstElementChild.style.width = `${Math.min(1, cell.limit ? passed / cell.limit : 0) * 100}%`;
    const expected = cell.expected ? ` · the cell ${length(now - cell.started)} of about ${length(cell.expected)}` : '';
    say(by('phase-text'), (cell.fixed ? `${cell.phase} ${length(Math.min(passed, cell.limit))} of ${length(cell.limit)}` : `${cell.phase} ${length(passed)}, at most ${length(cell.limit)}`) + expected);
  }
  const waits = !!cell?.waiting?.length;
  show(by('waiting'), waits);
  if (waits) say(by('waiting'), `waiting ${length(now - cell.waiting_since)} for ${cell.waiting.join(', ')}`);
  rows(by('faults'), cell?.faults ?? [], f => `${f.since} ${f.text}`, () => make('li'),
    (e, f) => say(e, `fault: ${f.text} — since ${length(now - f.since)}` + (f.for ? ` of ${length(f.for)}` : '')));
}

// The cells of one combination of the matrix.
function combinations() {
  const found = new Map();
  for (const c of all('cell')) {
    if (!found.has(c.number)) found.set(c.number, { number: c.number, values: c.values ?? [], cells: [] });
    found.get(c.number).cells.push(c);
  }
  return [...found.values()].sort((a, b) => a.number - b.number);
}

const worst = ['pending', 'valid', 'degraded', 'skipped', 'invalid', 'running'];

function combinationText(combo) {
  const p99 = combo.cells.findLast(c => c.p99 != null)?.p99;
  const marks = combo.cells.length <= 5 ? combo.cells.map(c => signs[c.status]).join('') : `${combo.cells.filter(c => c.status !== 'pending' && c.status !== 'running').length}/${combo.cells.length}`;
  return marks + (p99 == null ? '' : ` ${millis(p99)}`);
}

let drawn = '', followed = 0;

// Moves a large matrix to the cell that runs, once for each cell: whoever scrolls
// elsewhere meanwhile stays there.
function follow(table, position) {
  const cell = table.querySelector('td.running'), box = table.parentElement;
  if (!cell || position === followed) return;
  followed = position;
  const corner = table.rows[0].cells[0]; // the names beside and above stay in sight
  box.scrollTop = cell.offsetTop - (box.clientHeight + corner.offsetHeight - cell.offsetHeight) / 2;
  box.scrollLeft = cell.offsetLeft - (box.clientWidth + corner.offsetWidth - cell.offsetWidth) / 2;
}

export function drawMatrix() {
  const run = piece('run'), combos = combinations();
  show(by('matrix-section'), combos.length > 1 || (combos[0]?.cells.length ?? 0) > 1);
  const is = JSON.stringify([run?.names, combos]);
  if (!run || is === drawn) return;
  drawn = is;
  const names = run.names ?? [], values = names.map((_, d) => [...new Set(combos.map(c => c.values[d]))]);
  let vary = names.map((_, d) => d).filter(d => values[d].length > 1);
  say(by('matrix-fixed'), names.map((n, d) => [n, d]).filter(([, d]) => values[d].length === 1).map(([n, d]) => `${n}=${values[d][0]}`).join(' '));
  const table = by('matrix');
  table.replaceChildren();
  const place = combo => {
    const state = combo ? combo.cells.map(c => c.status).sort((a, b) => worst.indexOf(b) - worst.indexOf(a))[0] : '';
    return make('td', state, combo ? combinationText(combo) : '');
  };
  if (vary.length > 2) {
    // No grid: one line a combination.
    table.append(make('tr', '', ...vary.map(d => make('th', '', names[d])), make('th', '', 'result')));
    for (const combo of combos) table.append(make('tr', '', ...vary.map(d => make('td', '', combo.values[d])), place(combo)));
    follow(table, piece('cell')?.position);
    return;
  }
  vary.sort((a, b) => values[b].length - values[a].length);
  const [across = -1, down = -1] = vary;
  const columns = across < 0 ? [''] : values[across], lines = down < 0 ? [''] : values[down];
  const corner = down < 0 ? names[across] ?? '' : `${names[down]} \\ ${names[across]}`;
  table.append(make('tr', '', make('th', '', corner), ...columns.map(v => make('th', '', v))));
  for (const line of lines) {
    table.append(make('tr', '', make('th', '', line), ...columns.map(column =>
      place(combos.find(c => (across < 0 || c.values[across] === column) && (down < 0 || c.values[down] === line))))));
  }
  follow(table, piece('cell')?.position);
}

function mark(state, trouble) {
  if (trouble) return ['✗ ', 'bad'];
  if (state === 'ready' || state === 'replaced' || state === 'restarted') return ['● ', 'good'];
  if (state === 'connected' || state === 'starting') return ['◐ ', 'warn'];
  return ['○ ', 'faint'];
}

// nodeRow has one cell for each column, and one over all for a node that has no numbers.
function machineRow(columns) {
  const sign = make('span'), name = make('span'), cells = columns.map(c => c());
  const detail = make('td', 'detail'), row = make('tr', '', make('td', 'name', sign, name), ...cells, detail);
  detail.colSpan = columns.length;
  row.head = (state, trouble, text) => {
    const [s, tone] = mark(state, trouble);
    say(sign, s); sign.className = tone; say(name, text);
  };
  row.numbers = (yes, tone, text) => {
    for (const c of cells) show(c, yes);
    show(detail, !yes);
    detail.className = `detail ${tone}`;
    say(detail, text ?? '');
  };
  row.columns = cells;
  return row;
}

const number = className => () => make('td', className);

export function drawMachines() {
  const nodes = all('node'), slow = piece('slowest');
  nodes.sort((a, b) => b.trouble - a.trouble || a.order - b.order);
  say(by('nodes-text'), `${nodes.filter(n => n.state === 'ready').length} of ${nodes.length} ready`);
  rows(by('nodes'), nodes, n => n.name, () => machineRow([gauge, gauge, number('n'), number('n'), number('n'), number('n hide'), number('n hide')]), (e, n) => {
    e.head(n.state, n.trouble, n.name);
    e.title = [n.role, n.address].filter(Boolean).join(' ');
    const s = n.trouble ? null : n.sample;
    e.numbers(!!s, n.trouble ? 'bad' : 'faint', (n.state || 'not connected') + (n.detail ? `: ${n.detail}` : ''));
    if (!s) return;
    const [cpu, memory, into, out, errors, error, late] = e.columns, share = s.cpus ? s.cpu / (1000 * s.cpus) : 0;
    cpu.set(share, `${Math.round(share * 100)} %` + (s.steal >= 10 * s.cpus ? ` (${Math.round(s.steal / s.cpus / 10)} % stolen)` : ''));
    memory.set(s.memory_total ? s.memory / s.memory_total : 0, mib(s.memory));
    say(into, bytes(s.in)); say(out, bytes(s.out));
    say(errors, s.errors ? short(s.errors) + '/s' : '0');
    errors.classList.toggle('warn', s.errors > 0);
    say(error, millis(s.clock_error)); say(late, millis(s.lateness));
  });
  show(by('slowest'), !!slow);
  if (slow) say(by('slowest'), `slowest: ${slow.node} — ${slow.why}`);
  drawComponents();
}

function drawComponents() {
  const list = all('component'), top = Math.max(1, ...list.map(c => c.cpu ?? 0));
  say(by('components-text'), list.length ? `${list.filter(c => c.state === 'ready' || c.state === 'restarted').length} of ${list.length} ready` : 'none yet');
  rows(by('components'), list, c => c.name, () => machineRow([number('hide faint'), gauge, number('n'), number('n'), number('n')]), (e, c) => {
    const gone = c.state === 'exited';
    e.head(c.state, gone, c.name);
    e.numbers(!gone && c.cpu != null, gone ? 'bad' : 'faint', (c.state || 'not started') + (c.detail ? `: ${c.detail}` : ''));
    if (gone || c.cpu == null) return;
    const [where, cpu, memory, into, out] = e.columns;
    say(where, c.node);
    cpu.set(c.cpu / top, `${short(c.cpu)} mCPU` + (c.restarts ? ` · ${plural(c.restarts, 'restart')}` : ''), false);
    say(memory, mib(c.memory)); say(into, rate(c.in)); say(out, rate(c.out));
  });
}

export function drawMessages() {
  const words = by('filter').value.toLowerCase().split(/\s+/).filter(Boolean), trouble = by('trouble').checked;
  const list = by('messages'), shown = model.notes.filter(n =>
    (!trouble || n.tone === 'warn' || n.tone === 'bad') && words.every(w => n.text.toLowerCase().includes(w))).slice(-300).reverse();
  const newest = shown[0] && `${shown[0].at} ${shown[0].text}`, is = `${shown.length} ${newest} ${words} ${trouble}`;
  if (list.dataset.is === is) return;
  list.dataset.is = is;
  list.replaceChildren(...shown.map(n => make('li', '', make('time', '', clock(n.time)), make('span', n.tone, n.text))));
}
