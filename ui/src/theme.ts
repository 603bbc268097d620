/** Colours that colour-blind people can tell apart (Okabe & Ito), for light and dark; pictures to keep are light. */
import { signal } from "@preact/signals";

export interface Theme {
  paper: string;
  ink: string;
  muted: string;
  rule: string;
  up: string;
  down: string;
  rest: string;
}

export const LIGHT: Theme = { paper: "#ffffff", ink: "#1b1f24", muted: "#59636e", rule: "#c8ced5", up: "#c85200", down: "#0069a8", rest: "#7a8490" };
export const DARK: Theme = { paper: "#15191e", ink: "#e8ecf0", muted: "#a3adb8", rule: "#3c444d", up: "#ff9d52", down: "#5cb8f2", rest: "#8b96a1" };

const dark = matchMedia("(prefers-color-scheme: dark)");

export const theme = signal(dark.matches ? DARK : LIGHT);
dark.addEventListener("change", () => (theme.value = dark.matches ? DARK : LIGHT));
