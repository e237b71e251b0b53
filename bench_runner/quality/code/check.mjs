// Reads a Vue component that a model wrote and says what it is worth, as one line of JSON: node check.mjs COMPONENT.vue CHECKS.json
// Nothing of the component is run here: syntax is judged on the compiler's own tree, never by patterns, and types by vue-tsc. behave.mjs runs it, in a
// sandbox of its own, so that it cannot reach what is said here.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileScript, compileTemplate, parse } from "@vue/compiler-sfc";
import ts from "typescript";
import { MOST_SAID, SCRATCH, firstLine, prepare } from "./scratch.mjs";

const SILENCED = /@ts-(nocheck|ignore|expect-error)/; // whoever writes it wants no types checked

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

function plain(text) {
  return text.replace(/\s+/g, "").replace(/;/g, "").replace(/"/g, "'");
}

// What the script declares, from the TypeScript compiler's tree.
function declared(source) {
  const tree = ts.createSourceFile("script.ts", source, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  const found = { interfaces: new Map(), annotated: new Map(), imports: new Map(), calls: new Map(), anys: 0 };
  const visit = (node) => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) found.anys += 1;
    if (ts.isInterfaceDeclaration(node)) found.interfaces.set(node.name.text, members(node.members));
    if (ts.isTypeAliasDeclaration(node)) found.interfaces.set(node.name.text, ts.isTypeLiteralNode(node.type) ? members(node.type.members) : new Map());
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
  const scripts = [descriptor.script, descriptor.scriptSetup].filter(Boolean);
  const script = descriptor.scriptSetup ?? descriptor.script;
  const found = declared(scripts.map((each) => each.content).join("\n"));
  const out = [];
  const say = (what, good) => out.push({ what, good: Boolean(good) });
  if (checks.lang) say(`<script lang="${checks.lang}">`, script?.lang === checks.lang);
  if (checks.setup) say("<script setup>", descriptor.scriptSetup !== null);
  for (const { name, members: wanted } of checks.interfaces ?? []) {
    const have = found.interfaces.get(name);
    say(`a type ${name}`, have);
    for (const [member, type] of Object.entries(wanted ?? {})) say(`${name}.${member}: ${type}`, have?.get(member) === plain(type));
  }
  for (const { name, type } of checks.annotations ?? []) say(`${name}: ${[].concat(type)[0]}`, [].concat(type).map(plain).includes(found.annotated.get(name)));
  for (const { from, names } of checks.imports ?? []) for (const name of names) say(`${name} from ${from}`, found.imports.get(from)?.includes(name));
  for (const { name, type } of checks.calls ?? []) say(type ? `${name}<${type}>()` : `${name}()`, found.calls.has(name) && (!type || found.calls.get(name).includes(plain(type))));
  if (scripts.some((each) => SILENCED.test(each.content))) say("no @ts-ignore", false);
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

const [component, checksFile] = process.argv.slice(2);
const source = readFileSync(component, "utf8");
const checks = JSON.parse(readFileSync(checksFile, "utf8"));
prepare(component);
const { descriptor, problems } = sfcOf(source);
const out = { parses: problems.length === 0, problems, compiles: false, structure: [], type_errors: [] };
if (out.parses) {
  const failed = compiled(descriptor);
  out.compiles = failed.length === 0;
  out.problems = failed;
  out.structure = structure(descriptor, checks);
  out.type_errors = out.compiles ? types(SCRATCH) : [];
}
for (const list of [out.problems, out.type_errors]) list.splice(MOST_SAID);
console.log(JSON.stringify(out));
