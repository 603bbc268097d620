import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";

import type { Plugin } from "vite";

/** Not sources: installed packages, and the document's types, which do not change the build. */
const GENERATED = new Set(["node_modules", "openapi.json", "document.d.ts"]);

/** Writes sources.json, the SHA-256 of every source file, so that a test can detect a stale build. */
export function sources(): Plugin {
  const root = import.meta.dirname;
  const files = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !GENERATED.has(entry.name))
      .flatMap((entry) => (entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)]));
  return {
    name: "sources",
    generateBundle() {
      const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
      const listed = Object.fromEntries(files(root).sort().map((path) => [relative(root, path), digest(path)]));
      this.emitFile({ type: "asset", fileName: "sources.json", source: `${JSON.stringify(listed, null, 1)}\n` });
    },
  };
}
