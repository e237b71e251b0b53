// Runs a fixture's tests on a component that a model wrote: node behave.mjs COMPONENT.vue TESTS.ts. One line of JSON: how many passed.
// The component runs in one process with its tests and can lie to them, and to this; nothing else is decided here.
import { spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MOST_SAID, SCRATCH, firstLine, prepare } from "./scratch.mjs";

function behaviour(folder, tests) {
  copyFileSync(tests, join(folder, "component.test.ts"));
  writeFileSync(join(folder, "vitest.config.mjs"), `import vue from "@vitejs/plugin-vue";
export default { plugins: [vue()], cacheDir: "${SCRATCH}/cache", test: { environment: "happy-dom", include: ["component.test.ts"], pool: "forks", maxWorkers: 1, testTimeout: 5000 } };`);
  const report = join(folder, "report.json");
  const words = ["/tools/node_modules/vitest/vitest.mjs", "run", "--reporter=json", `--outputFile=${report}`, "--configLoader=runner"];
  const done = spawnSync(process.execPath, words, { cwd: folder, encoding: "utf8", timeout: 90_000, env: { ...process.env, CI: "1" } });
  try {
    const found = JSON.parse(readFileSync(report, "utf8"));
    const each = found.testResults.flatMap((file) => file.assertionResults);
    const problems = each.filter((test) => test.status !== "passed").map((test) => `${test.title}: ${firstLine(test.failureMessages?.[0] ?? test.status)}`);
    if (!each.length) problems.push(firstLine(found.testResults[0]?.message ?? "no test ran"));
    return { passed: each.filter((test) => test.status === "passed").length, total: each.length, problems };
  } catch {
    return { passed: 0, total: 0, problems: [firstLine(done.stderr || "vitest did not report")] };
  }
}

const [component, tests] = process.argv.slice(2);
prepare(component);
const out = behaviour(SCRATCH, tests);
out.problems.splice(MOST_SAID);
console.log(JSON.stringify(out));
