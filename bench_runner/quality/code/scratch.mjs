// Where a component is looked at, for check.mjs and behave.mjs.
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const SCRATCH = "/tmp/check";
export const MOST_SAID = 20; // problems that are told

export function firstLine(text) {
  return text.split("\n")[0];
}

// A package of its own with the component in it, and the compilers beside it.
export function prepare(component) {
  mkdirSync(SCRATCH, { recursive: true });
  copyFileSync(component, join(SCRATCH, "Component.vue"));
  writeFileSync(join(SCRATCH, "package.json"), '{"type": "module"}');
  symlinkSync("/tools/node_modules", join(SCRATCH, "node_modules"));
}
