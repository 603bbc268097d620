/** Numbers as people write them. One rule holds for the form, for tables and for the command line (tables/cells.py). */
import { signal } from "@preact/signals";

const PLAIN = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
/** The other separator and exactly three digits after a number that does not start with 0: 4,000 but not 0,125. */
const AMBIGUOUS = /^([-+]?)([1-9]\d*)[.,](\d{3})$/;

/** Whether the person chose the comma as the decimal separator. */
export const decimalComma = signal(false);

/** The two readings of a number that could be thousands or decimals: 4,000 can mean 4000 or 4.000. */
export function readings(text: string): [string, string] | null {
  const [chosen, other] = decimalComma.value ? [",", "."] : [".", ","];
  const found = text.includes(chosen) ? null : AMBIGUOUS.exec(text.trim());
  return found && text.includes(other) ? [`${found[1]}${found[2]}${found[3]}`, `${found[1]}${found[2]}${chosen}${found[3]}`] : null;
}

/** The number, or the text itself if it is not a number or has two readings. */
export function toNumber(text: string): number | string {
  const trimmed = text.trim();
  if (readings(trimmed)) return text;
  const plain = /^[^.,]*,\d+$/.test(trimmed) ? trimmed.replace(",", ".") : trimmed;
  return PLAIN.test(plain) ? Number(plain) : text;
}

/** The numbers of a list. Without blanks or semicolons between them, commas separate the numbers. */
export function pieces(text: string): string[] {
  const parts = text.split(/[\s;]+/).map((part) => part.replace(/^,+|,+$/g, "")).filter(Boolean);
  return parts.length === 1 ? (parts[0] ?? "").split(",").filter(Boolean) : parts;
}

/** A number with the chosen separator, for a field of the form. */
export function written(number: number): string {
  return decimalComma.value ? String(number).replace(".", ",") : String(number);
}
