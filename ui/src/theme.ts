/** Colours that colour-blind people can tell apart (Okabe & Ito), for the light and the dark theme. */
import { signal } from "@preact/signals";

export interface Theme {
  paper: string;
  ink: string;
  muted: string;
  rule: string;
  up: string;
  down: string;
  rest: string;
  /** A feature's least and greatest value. */
  low: string;
  high: string;
}

export const LIGHT: Theme = { paper: "#ffffff", ink: "#1b1f24", muted: "#59636e", rule: "#c8ced5", up: "#c85200", down: "#0069a8", rest: "#7a8490", low: "#aeb7c1", high: "#5b2a86" };
export const DARK: Theme = { paper: "#15191e", ink: "#e8ecf0", muted: "#a3adb8", rule: "#3c444d", up: "#ff9d52", down: "#5cb8f2", rest: "#8b96a1", low: "#56606b", high: "#dcb3ff" };

const dark = matchMedia("(prefers-color-scheme: dark)");

export const theme = signal(dark.matches ? DARK : LIGHT);
dark.addEventListener("change", () => (theme.value = dark.matches ? DARK : LIGHT));
