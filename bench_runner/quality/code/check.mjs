// Reads a Vue component that a model wrote and says what it is worth, as one line of JSON: node check.mjs COMPONENT.vue CHECKS.json [TESTS.ts]
// Runs in a sandbox: the component is hostile. Syntax is judged on the compiler's own tree, never by patterns; types by vue-tsc; behaviour by vitest.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { compileScript, compileTemplate, parse } from "@vue/compiler-sfc";
import ts from "typescript";

const SCRATCH = "/tmp/check";
const MOST_SAID = 20; // problems that are told

function sfcOf(source) {
  const { descriptor, errors } = parse(source, { filename: "Component.vue" });
  const problems = errors.map((error) => error.message);
  if (!descriptor.template && !descriptor.scriptSetup && !descriptor.script) problems.push("it holds neither template nor script");
  return { descriptor, problems };
}

// The script and the template as the build makes them.
function compiled(descriptor) {
  const problems = [];
  let bindings;
  try {
    if (descriptor.script || descriptor.scriptSetup) bindings = compileScript(descriptor, { id: "check" }).bindings;
  } catch (error) {
    problems.push(firstLine(error.message));
  }
  if (descriptor.template) {
    const found = compileTemplate({
      source: descriptor.template.content, filename: "Component.vue", id: "check",
      compilerOptions: { bindingMetadata: bindings, expressionPlugins: ["typescript"] },
    });
    problems.push(...found.errors.map((error) => firstLine(String(error.message ?? error))));
  }
  return problems;
}

function firstLine(text) {
  return text.split("\n")[0];
}

function plain(text) {
  return text.replace(/\s+/g, "").replace(/;/g, "").replace(/"/g, "'");
}

// What the script declares, from the TypeScript compiler's tree.
function declared(script) {
  const tree = ts.createSourceFile("script.ts", script?.content ?? "", ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  const found = { interfaces: new Map(), annotated: new Map(), imports: new Map(), calls: new Map(), anys: 0 };
  const visit = (node) => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) found.anys += 1;
    if (ts.isInterfaceDeclaration(node)) found.interfaces.set(node.name.text, members(node.members));
    if (ts.isTypeAliasDeclaration(node) && ts.isTypeLiteralNode(node.type)) found.interfaces.set(node.name.text, members(node.type.members));
    if ((ts.isVariableDeclaration(node) || ts.isParameter(node)) && ts.isIdentifier(node.name) && node.type) found.annotated.set(node.name.text, plain(node.type.getText()));
    if (ts.isFunctionDeclaration(node) && node.name && node.type) found.annotated.set(node.name.text, plain(node.type.getText()));
    if (ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && node.initializer) annotateByValue(node, found);
    if (ts.isImportDeclaration(node)) found.imports.set(node.moduleSpecifier.text, [...(found.imports.get(node.moduleSpecifier.text) ?? []), ...named(node)]);
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) found.calls.set(node.expression.text, (node.typeArguments ?? []).map((each) => plain(each.getText())));
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return found;
}

// `const n = ref<number>(0)` and `const f = (): number => 1` say their types as well as an annotation does.
function annotateByValue(node, found) {
  const value = node.initializer;
  if (ts.isCallExpression(value) && value.typeArguments?.length) found.annotated.set(node.name.text, plain(`${value.expression.getText()}<${value.typeArguments.map((each) => each.getText()).join(",")}>`));
  if ((ts.isArrowFunction(value) || ts.isFunctionExpression(value)) && value.type) found.annotated.set(node.name.text, plain(value.type.getText()));
}

function members(list) {
  return new Map(list.filter((each) => each.name).map((each) => [each.name.getText(), plain(`${each.questionToken ? "?" : ""}${each.type?.getText() ?? ""}`)]));
}

function named(node) {
  const clause = node.importClause;
  const names = clause?.name ? [clause.name.text] : [];
  return clause?.namedBindings && ts.isNamedImports(clause.namedBindings) ? [...names, ...clause.namedBindings.elements.map((each) => each.name.text)] : names;
}

// One line a check: what was asked, and whether it is so.
function structure(descriptor, checks) {
  const script = descriptor.scriptSetup ?? descriptor.script;
  const found = declared(script);
  const out = [];
  const say = (what, good) => out.push({ what, good: Boolean(good) });
  if (checks.lang) say(`<script lang="${checks.lang}">`, script?.lang === checks.lang);
  if (checks.setup) say("<script setup>", descriptor.scriptSetup !== null);
  for (const { name, members: wanted } of checks.interfaces ?? []) {
    const have = found.interfaces.get(name);
    say(`a type ${name}`, have);
    for (const [member, type] of Object.entries(wanted ?? {})) say(`${name}.${member}: ${type}`, have?.get(member) === plain(type));
  }
  for (const { name, type } of checks.annotations ?? []) say(`${name}: ${type}`, [].concat(type).map(plain).includes(found.annotated.get(name)));
  for (const { from, names } of checks.imports ?? []) for (const name of names) say(`${name} from ${from}`, found.imports.get(from)?.includes(name));
  for (const { name, type } of checks.calls ?? []) say(type ? `${name}<${type}>()` : `${name}()`, found.calls.has(name) && (!type || found.calls.get(name).includes(plain(type))));
  if (checks.no_any) say("no any", found.anys === 0);
  return out;
}

// Errors of vue-tsc, without the paths of the sandbox.
function types(folder) {
  const config = { compilerOptions: { target: "ES2022", module: "ESNext", moduleResolution: "bundler", strict: true, noEmit: true, skipLibCheck: true, jsx: "preserve", lib: ["ES2022", "DOM"], types: [] }, include: ["Component.vue"] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const done = spawnSync(process.execPath, ["/tools/node_modules/vue-tsc/bin/vue-tsc.js", "--noEmit", "-p", "tsconfig.json"], { cwd: folder, encoding: "utf8", timeout: 60_000 });
  if (done.status === null) return ["vue-tsc did not end"];
  const lines = (done.stdout ?? "").split("\n").filter((line) => /error TS\d+/.test(line));
  return done.status !== 0 && !lines.length ? [firstLine(done.stderr || done.stdout || "vue-tsc failed")] : lines.map((line) => line.replace(/^.*?\((\d+),(\d+)\): /, "line $1: "));
}

// How many of the fixture's tests pass.
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

const [component, checksFile, tests] = process.argv.slice(2);
const source = readFileSync(component, "utf8");
const checks = JSON.parse(readFileSync(checksFile, "utf8"));
mkdirSync(SCRATCH, { recursive: true });
writeFileSync(join(SCRATCH, "Component.vue"), source);
writeFileSync(join(SCRATCH, "package.json"), '{"type": "module"}');
symlinkSync("/tools/node_modules", join(SCRATCH, "node_modules"));
const { descriptor, problems } = sfcOf(source);
const out = { component: basename(component), parses: problems.length === 0, problems, compiles: false, structure: [], type_errors: [], tests: null };
if (out.parses) {
  const failed = compiled(descriptor);
  out.compiles = failed.length === 0;
  out.problems = failed;
  out.structure = structure(descriptor, checks);
  out.type_errors = out.compiles ? types(SCRATCH) : [];
  if (tests) out.tests = out.compiles ? behaviour(SCRATCH, tests) : { passed: 0, total: 0, problems: [] };
}
for (const list of [out.problems, out.type_errors]) list.splice(MOST_SAID);
console.log(JSON.stringify(out));
