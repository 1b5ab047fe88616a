// What the events stream said so far.

export const model = { version: 0, head: { now: 0, elapsed: 0, left: null }, pieces: new Map(), notes: [], seconds: [] };

const mostNotes = 800, mostSeconds = 1200;

// take merges a frame; a full one begins anew.
export function take(frame) {
  if (frame.full) { model.pieces.clear(); model.notes = []; model.seconds = []; }
  model.version = frame.version;
  model.head = frame.head;
  for (const [key, value] of Object.entries(frame.set ?? {})) {
    if (value === null && /^(cell|node|component) /.test(key)) model.pieces.delete(key);
    else model.pieces.set(key, value);
  }
  model.notes = model.notes.concat(frame.notes ?? []).slice(-mostNotes);
  model.seconds = model.seconds.concat(frame.seconds ?? []).slice(-mostSeconds);
}

export const piece = name => model.pieces.get(name) ?? null;

// all lists the pieces of a kind in their order.
export function all(kind) {
  const out = [];
  for (const [key, value] of model.pieces) if (key.startsWith(kind + ' ')) out.push(value);
  return out.sort((a, b) => a.order - b.order);
}
