// Numbers with the units that people read. A line never breaks between the two.

const GAP = "\u00a0"; // a space that does not break
const PREFIXES = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
  [1, ""],
  [1e-3, "m"],
  [1e-6, "µ"],
  [1e-9, "n"],
];

function digits(value) {
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

export function si(value, unit) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "unknown";
  if (value === 0) return `0${GAP}${unit}`;
  const [factor, prefix] =
    PREFIXES.find(([one]) => Math.abs(value) >= one * 0.9995) ?? PREFIXES.at(-1);
  return `${digits(value / factor)}${GAP}${prefix}${unit}`;
}

export const macs = (count) =>
  count > 0 && count < 1000 ? `${digits(count)}${GAP}MACs` : si(count, "MACs");
export const joules = (mj) =>
  mj === null || mj === undefined ? "not measured" : si(mj / 1e3, "J");
export const milliseconds = (ms) =>
  ms === undefined || ms === null || !Number.isFinite(ms)
    ? "unknown"
    : ms >= 1000
      ? `${digits(ms / 1000)}${GAP}s`
      : `${digits(ms)}${GAP}ms`;
export const bytes = (count) => si(count, "B");

export function count(value) {
  return value >= 1e6 ? si(value, "").trim() : Math.round(value).toLocaleString("en");
}

export function percent(share) {
  if (share === null || share === undefined || !Number.isFinite(share)) return "unknown";
  const value = 100 * share;
  if (value > 99.95 && value < 100) return `>${GAP}99.9${GAP}%`;
  return `${Math.abs(value) >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)}${GAP}%`;
}

// What `spent` is of `full`, as a sentence without its subject.
export function against(spent, full) {
  if (!full || spent === null || spent === undefined) return "";
  const saved = 1 - spent / full;
  if (Math.abs(saved) < 0.0005) return "as much as the full model";
  return saved > 0
    ? `${percent(saved)} less than the full model`
    : `${percent(-saved)} more than the full model`;
}
