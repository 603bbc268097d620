/** The state of the page in the address, after the #. Browsers do not send that part, so it is in no log. */
import type { TypedRow } from "./model";

export type View = "row" | "table" | "decision";

export interface Address {
  model?: string;
  output?: string;
  method?: string;
  samples?: number;
  background?: string;
  scale?: string;
  insteadOf?: string;
  /** JSON. */
  players?: string;
  view?: View;
  /** The id of a recorded decision. */
  decision?: string;
  decimal?: "comma";
  threshold?: number;
  /** The fields that differ from the example. */
  start?: TypedRow;
  /** The fields that differ from the start. */
  now?: TypedRow;
}

/** Mail and chat programs cut longer addresses. */
const MAX_LENGTH = 8000;

export function readAddress(): Address {
  const given = new URLSearchParams(location.hash.slice(1));
  const samples = Number(given.get("samples"));
  const threshold = Number(given.get("threshold") ?? Number.NaN);
  return {
    model: given.get("model") ?? undefined,
    output: given.get("output") ?? undefined,
    method: given.get("method") ?? undefined,
    samples: Number.isInteger(samples) && samples > 0 ? samples : undefined,
    background: given.get("background") ?? undefined,
    scale: ["output", "log_odds"].find((one) => one === given.get("scale")),
    insteadOf: given.get("insteadOf") ?? undefined,
    players: readObject(given.get("players")) && (given.get("players") ?? undefined),
    view: given.has("decision") ? "decision" : (["table", "decision"] as const).find((one) => one === given.get("view")),
    decision: given.get("decision") ?? undefined,
    decimal: given.get("decimal") === "comma" ? "comma" : undefined,
    threshold: threshold >= 0 && threshold <= 1 ? threshold : undefined,
    start: readTyped(given.get("start")),
    now: readTyped(given.get("now")),
  };
}

function readTyped(text: string | null): TypedRow | undefined {
  const read = readObject(text);
  return read && (Object.fromEntries(Object.entries(read).filter(([, value]) => typeof value === "string")) as TypedRow);
}

function readObject(text: string | null): object | undefined {
  try {
    const read: unknown = JSON.parse(text ?? "null");
    return typeof read === "object" && read !== null && !Array.isArray(read) ? read : undefined;
  } catch {
    return undefined; // the address is damaged: the page shows the example
  }
}

/** Returns whether the rows fit. Another model or view adds an entry to the browser's history; typing does not. */
export function writeAddress(address: Address): boolean {
  const whole = encode(address);
  const fits = whole.length <= MAX_LENGTH;
  const text = fits ? whole : encode({ ...address, start: undefined, now: undefined });
  if (`#${text}` === location.hash) return fits;
  const last = readAddress();
  if (last.model && (last.model !== address.model || last.view !== address.view)) history.pushState(null, "", `#${text}`);
  else history.replaceState(null, "", `#${text}`);
  return fits;
}

function encode(address: Address): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(address)) {
    if (value === undefined) continue;
    if (typeof value !== "object") params.set(key, String(value));
    else if (Object.keys(value).length) params.set(key, JSON.stringify(value));
  }
  return params.toString();
}
