// Small helpers around the document. Whatever comes from the run becomes text,
// never markup.

export const by = id => document.getElementById(id);

export function make(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

// say sets a text, where it is another.
export function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

export function show(e, yes) {
  if (e.hidden === yes) e.hidden = !yes;
}

// rows keeps one child of parent for each item, in their order: made once, then
// filled again.
export function rows(parent, items, key, create, fill) {
  const have = parent.rowsByKey ??= new Map();
  const seen = new Set();
  let at = parent.firstElementChild;
  for (const item of items) {
    const k = key(item);
    seen.add(k);
    let e = have.get(k);
    if (!e) have.set(k, e = create(item));
    if (e === at) at = at.nextElementSibling;
    else parent.insertBefore(e, at);
    fill(e, item);
  }
  for (const [k, e] of have) if (!seen.has(k)) { e.remove(); have.delete(k); }
}

// gauge is a bar with its value below, and the function that sets it.
export function gauge() {
  const fill = make('i'), bar = make('div', 'bar', fill), value = make('div', 'value');
  const cell = make('td', '', bar, value);
  cell.set = (share, text, warns = true) => {
    fill.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
    bar.className = warns && share >= .9 ? 'bar over' : warns && share >= .75 ? 'bar full' : 'bar';
    say(value, text);
  };
  return cell;
}
