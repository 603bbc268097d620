/** The state of the page in the address, behind the # where it reaches no server and no log. */
import type { Typed } from "./model";

export interface Address {
  model?: string;
  output?: string;
  method?: string;
  samples?: number;
  background?: string;
  view?: "row" | "table";
  /** What differs from the example. */
  start?: Typed;
  /** What differs from the start. */
  now?: Typed;
}

/** Longer addresses get lost in mails and chats. */
const LONGEST = 8000;

export function readAddress(): Address {
  const given = new URLSearchParams(location.hash.slice(1));
  const samples = Number(given.get("samples"));
  return {
    model: given.get("model") ?? undefined,
    output: given.get("output") ?? undefined,
    method: given.get("method") ?? undefined,
    samples: Number.isInteger(samples) && samples > 0 ? samples : undefined,
    background: given.get("background") ?? undefined,
    view: given.get("view") === "table" ? "table" : undefined,
    start: readTyped(given.get("start")),
    now: readTyped(given.get("now")),
  };
}

function readTyped(text: string | null): Typed | undefined {
  try {
    const read: unknown = JSON.parse(text ?? "null");
    if (typeof read !== "object" || read === null) return undefined;
    return Object.fromEntries(Object.entries(read).filter(([, value]) => typeof value === "string")) as Typed;
  } catch {
    return undefined; // an address that was cut short or mistyped: the example is shown
  }
}

/** Whether all of it could be written. Another model is a step to go back from; typing is not. */
export function writeAddress(address: Address): boolean {
  const whole = encode(address);
  const fits = whole.length <= LONGEST;
  const text = fits ? whole : encode({ ...address, start: undefined, now: undefined });
  if (`#${text}` === location.hash) return fits;
  const last = readAddress().model;
  if (last && last !== address.model) history.pushState(null, "", `#${text}`);
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
