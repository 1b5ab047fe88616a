// Lets somebody who has the token step in. It is kept in this page's memory
// alone, and asked for again when the page is loaded anew.
import { by, say, show } from './dom.js';
import { piece } from './model.js';

let token = '', asked = null;

async function post(action, body) {
  const answer = await fetch(`control/${action}`, {
    method: 'POST', headers: { 'Authorization': `Bearer ${token}`, 'Content-Type': 'application/json' }, body: JSON.stringify(body ?? {}),
  });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
}

async function attempt(what, done) {
  say(by('answer'), '');
  try {
    await what();
    say(by('answer'), done);
    return true;
  } catch (e) {
    say(by('answer'), e.message);
    return false;
  }
}

function ask(question, yes) {
  asked = yes;
  say(by('question'), question);
  state();
}

function state() {
  const open = !by('token-form').dataset.open;
  show(by('unlock'), !token && open);
  show(by('token-form'), !token && !open);
  show(by('actions'), !!token && !asked);
  show(by('sure'), !!token && !!asked);
}

export function prepareControl() {
  by('unlock').addEventListener('click', () => { by('token-form').dataset.open = 'yes'; state(); by('token').focus(); });
  by('token-form').addEventListener('submit', async e => {
    e.preventDefault();
    token = by('token').value.trim();
    by('token').value = '';
    if (!await attempt(() => post('check'), '')) token = '';
    state();
  });
  by('skip').addEventListener('click', () => {
    const cell = piece('cell');
    if (!cell) { say(by('answer'), 'no cell is running'); return; }
    ask(`Skip cell ${cell.position} (${cell.label})? It will have no result.`, () => attempt(() => post('skip', { position: cell.position }), `cell ${cell.position} is given up`));
  });
  by('stop').addEventListener('click', () => ask('Stop the run? Finished cells are kept.', () => attempt(() => post('stop'), 'the run is stopping')));
  by('yes').addEventListener('click', () => { const act = asked; asked = null; state(); act?.(); });
  by('no').addEventListener('click', () => { asked = null; state(); });
}

export function drawControl() {
  const run = piece('run');
  show(by('control'), !!run?.control && !run.finished);
  state();
}
