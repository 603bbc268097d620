import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

import { sources } from "./sources.ts";

// The API serves this folder unchanged. The page loads nothing from other hosts.
export default defineConfig({
  // Relative addresses, so that a proxy can serve the page below a path prefix.
  base: "./",
  plugins: [preact(), sources()],
  build: {
    outDir: process.env.UI_OUT ?? "../app/whyserve/api/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    rollupOptions: { input: { index: "index.html", help: "help.html" } },
  },
  server: { proxy: Object.fromEntries(["/predict", "/explain", "/explanations", "/models", "/health"].map((path) => [path, process.env.API ?? "http://127.0.0.1:8000"])) },
});
