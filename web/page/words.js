// How numbers and times are written.

export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000)), two = n => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${two(Math.floor(s / 60))}:${two(s % 60)}`;
}

export function length(ms) {
  const s = Math.round(Math.max(0, ms) / 1000);
  if (s < 60) return `${s}s`;
  const rest = s % 60 ? `${s % 60}s` : '';
  return s < 3600 ? `${Math.floor(s / 60)}m${rest}` : `${Math.floor(s / 3600)}h${Math.floor(s / 60) % 60}m`;
}

function three(v) {
  const a = Math.abs(v);
  return v.toFixed(a >= 99.95 ? 0 : a >= 9.995 ? 1 : 2);
}

export function short(v) {
  const a = Math.abs(v);
  if (a >= 999.5e6) return three(v / 1e9) + 'G';
  if (a >= 999500) return three(v / 1e6) + 'M';
  if (a >= 9999.5) return three(v / 1e3) + 'k';
  return v.toFixed(a >= 10 || Number.isInteger(v) ? 0 : 1);
}

export function millis(v) {
  if (v == null) return '–';
  const a = Math.abs(v);
  if (a >= 59950) return three(v / 60000) + ' min';
  return a >= 999.5 ? three(v / 1000) + ' s' : three(v) + ' ms';
}

export const rate = v => v == null ? '–' : short(v) + '/s';
export const mib = v => v >= 1000 ? three(v / 1024) + ' GiB' : short(v) + ' MiB';
export const bytes = v => v >= 999500 ? three(v / 1e6) + ' MB/s' : v >= 999.5 ? three(v / 1e3) + ' kB/s' : short(v) + ' B/s';
export const count = n => String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');
export const plural = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`;
