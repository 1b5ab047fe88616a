// Follows the run: one stream of events, drawn at most a few times a second.
import { by, say } from './dom.js';
import { take } from './model.js';
import { drawRun, drawMatrix, drawMachines, drawMessages } from './draw.js';
import { drawLoad } from './load.js';
import { prepareControl, drawControl } from './control.js';

const silence = 15000; // without a sign of life the connection counts as dead
let source = null, heard = 0, over = false, queued = false;

function link(text, className) {
  say(by('link'), text);
  by('link').className = `pill ${className}`;
}

function connect() {
  source?.close();
  heard = Date.now();
  source = new EventSource('events');
  source.onmessage = e => { alive(); take(JSON.parse(e.data)); later(); };
  source.addEventListener('beat', alive);
  source.addEventListener('over', () => { over = true; source.close(); link('over', ''); again(10000); });
  source.onerror = () => {
    if (over) { source.close(); again(10000); return; } // the next run may be served here
    link('reconnecting', 'lost');
    if (source.readyState === EventSource.CLOSED) again(3000);
  };
}

let timer = 0;
function again(ms) {
  clearTimeout(timer);
  timer = setTimeout(connect, ms);
}

function alive() {
  heard = Date.now();
  over = false;
  link('live', 'live');
}

setInterval(() => {
  if (!over && source && Date.now() - heard > silence) { link('reconnecting', 'lost'); connect(); }
}, 3000);

function later() {
  if (queued) return;
  queued = true;
  setTimeout(() => requestAnimationFrame(draw), 100);
}

function draw() {
  queued = false;
  drawRun(); drawControl(); drawLoad(); drawMatrix(); drawMachines(); drawMessages();
}

prepareControl();
for (const id of ['filter', 'trouble']) by(id).addEventListener('input', drawMessages);
addEventListener('resize', later);
connect();
