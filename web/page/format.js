// Numbers for people.

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (n >= 999.5 && unit + 1 < units.length) {
    n /= 1000;
    unit++;
  }
  return `${n.toFixed(unit === 0 || n >= 99.5 ? 0 : 1)} ${units[unit]}`;
}

export function seconds(s) {
  return s < 1 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(1)} s`;
}

export function rate(perSecond) {
  return `${perSecond.toFixed(perSecond < 100 ? 1 : 0)} tok/s`;
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}
