// The shipped dashboard against Grafana's own types: the JSON becomes literals of TypeScript, whose compiler then knows every field
// and value. `make check-dashboard`; ends with `N passed, N failed`.
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, "..", "..", "..");
const DASHBOARD = "envoy/observability/grafana/dashboards/tollgate.json";
const COMPOSE = "envoy/compose/docker-compose.yml";
const PLUGINS = ["stat", "table", "timeseries"];
// The version that docker-compose.yml runs, and the newest.
const PACKAGES = ["@grafana/schema", "grafana-schema-newest"];

/** What must be complained about, and where: without it nobody would see a check that passes everything. */
const BROKEN = [
  ["a misspelt option of a series", "timeseries", (it) => { it.fieldConfig.defaults.custom.lineWidht = 1; }, "fieldConfig.defaults.custom.lineWidht"],
  ["a value that the plugin does not know", "timeseries", (it) => { it.fieldConfig.defaults.custom.stacking.mode = "stacked"; }, "fieldConfig.defaults.custom.stacking.mode"],
  ["a text for a number", "timeseries", (it) => { it.gridPos.w = "12"; }, "gridPos.w"],
  ["a calculation that no legend has", "timeseries", (it) => { it.options.legend.calcs = ["maximum"]; }, "options.legend.calcs[0]"],
  ["a missing option", "stat", (it) => { delete it.options.reduceOptions; }, "options"],
  ["another plugin's option", "stat", (it) => { it.options.showHeader = true; }, "options.showHeader"],
  ["a calculation that does not exist", "stat", (it) => { it.options.reduceOptions.calcs = ["latest"]; }, "options.reduceOptions.calcs[0]"],
  ["a unit that does not exist", "stat", (it) => { it.fieldConfig.defaults.unit = "requests"; }, "fieldConfig.defaults.unit"],
  ["a colour mode that does not exist", "stat", (it) => { it.fieldConfig.defaults.color.mode = "threshold"; }, "fieldConfig.defaults.color.mode"],
  ["a misspelt field of a query", "table", (it) => { it.targets[0].legend = ""; }, "targets[0].legend"],
  ["a format that Prometheus does not have", "table", (it) => { it.targets[0].format = "tabular"; }, "targets[0].format"],
  ["a misspelt transformation", "table", (it) => { it.transformations[0].id = "organise"; }, "transformations[0].id"],
  ["an override of another plugin's option", "table",
    (it) => { it.fieldConfig.overrides = [{ matcher: { id: "byName", options: "Value" }, properties: [{ id: "custom.lineWidth", value: 1 }] }]; },
    "fieldConfig.overrides[0].properties[0].id"],
  ["a plugin without types", "stat", (it) => { it.type = "singlestat"; }, "the whole"],
  ["an annotation's query in an old place", "dashboard", (it) => { it.annotations.list[1].expr = "ALERTS"; }, "annotations.list[1].expr"],
  ["a way to refresh a variable that does not exist", "dashboard", (it) => { it.templating.list[1].refresh = 3; }, "templating.list[1].refresh"],
];

const read = (file) => readFileSync(join(ROOT, file), "utf8");
const installed = (name) => JSON.parse(readFileSync(join(HERE, "node_modules", name, "package.json"), "utf8")).version;

/** The one declaration file of a directory: its name differs from version to version. */
function declarations(...words) {
  const directory = join(HERE, "node_modules", ...words);
  const found = readdirSync(directory).filter((name) => name.endsWith(".d.ts"));
  if (found.length !== 1) throw new Error(`${directory} has ${found.length} declaration files`);
  return join(directory, found[0]);
}

/** Compiles texts (name to text) together with types.ts against one package of Grafana's; its complaints. */
function compile(schema, texts) {
  const types = join("dist", "types");
  const paths = {
    "grafana/schema": [join(HERE, "node_modules", schema, types, "index.gen.d.ts")],
    "@grafana/schema": [join(HERE, "node_modules", schema, types, "index.d.ts")],
    ...Object.fromEntries(PLUGINS.map((name) => [`grafana/panel/${name}`, [declarations(schema, types, "raw", "composable", name, "panelcfg", "x")]])),
  };
  // Without Grafana's own files being checked: they are not ours to mend.
  const options = {
    strict: true, noEmit: true, skipLibCheck: true, types: [], lib: ["lib.es2022.d.ts"], paths,
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (file) => texts.has(file) || fileExists(file);
  host.readFile = (file) => texts.get(file) ?? readFile(file);
  host.getSourceFile = (file, ...rest) => texts.has(file) ? ts.createSourceFile(file, texts.get(file), ...rest) : getSourceFile(file, ...rest);
  const program = ts.createProgram([...texts.keys()], options, host);
  return ts.getPreEmitDiagnostics(program);
}

/** Where in the JSON a complaint belongs: `fieldConfig.defaults.unit`. */
function place(diagnostic) {
  let path = "";
  const into = (node) => {
    if (ts.isPropertyAssignment(node)) path += (path && ".") + node.name.text;
    const { parent } = node;
    if (parent && ts.isArrayLiteralExpression(parent)) path += `[${parent.elements.indexOf(node)}]`;
    ts.forEachChild(node, (child) => {
      if (child.getStart() <= diagnostic.start && diagnostic.start < child.end) into(child);
    });
  };
  into(diagnostic.file);
  return path || "the whole";
}

/** The last line of a chain says what is wrong; the ones above it only say in which type. */
function reason({ messageText }) {
  if (typeof messageText === "string") return messageText;
  let last = messageText;
  while (last.next?.length) last = last.next[0];
  return last.messageText;
}

const literal = (type, value) => `import type { Dashboard, Panel } from "./types";\nexport const it: ${type} = ${JSON.stringify(value, null, 1)};\n`;
const ofPanel = (panel) => literal(`Panel<${JSON.stringify(panel.type)}>`, panel);

let passed = 0;
let failed = 0;
function note(what, problems) {
  problems.length ? failed++ : passed++;
  console.log(problems.length ? `FAILED ${what}\n${problems.map((problem) => `  ${problem}`).join("\n")}` : `ok     ${what}`);
}

const { panels, ...rest } = JSON.parse(read(DASHBOARD));
const all = panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
const image = /grafana\/grafana:(\S+?)\}/.exec(read(COMPOSE))?.[1];
note(`${COMPOSE} runs the Grafana whose types are checked, ${installed(PACKAGES[0])}`,
  image === installed(PACKAGES[0]) ? [] : [`it runs ${image}: update package.json and package-lock.json beside check.mjs`]);

for (const schema of PACKAGES) {
  const version = installed(schema);
  const texts = new Map();
  const add = (name, text) => texts.set(join(HERE, name), text);
  add("dashboard.ts", literal("Dashboard", rest));
  all.forEach((panel, index) => add(`panel-${index}.ts`, ofPanel(panel)));
  BROKEN.forEach(([, type, harm], index) => {
    const copy = structuredClone(type === "dashboard" ? rest : all.find((panel) => panel.type === type));
    harm(copy);
    add(`broken-${index}.ts`, type === "dashboard" ? literal("Dashboard", copy) : ofPanel(copy));
  });
  const complaints = new Map([...texts.keys()].map((file) => [file, []]));
  const elsewhere = [];
  for (const diagnostic of compile(schema, texts)) {
    const list = complaints.get(diagnostic.file?.fileName);
    list ? list.push({ at: place(diagnostic), why: reason(diagnostic) })
      : elsewhere.push(`${diagnostic.file?.fileName ?? ""}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n  ")}`);
  }
  const said = (name) => complaints.get(join(HERE, name)).map(({ at, why }) => `${at}: ${why}`);
  note(`types of Grafana ${version} are there, and types.ts fits them`, elsewhere);
  note(`Grafana ${version}: the dashboard without its panels`, said("dashboard.ts"));
  all.forEach((panel, index) => note(`Grafana ${version}: panel ${panel.id} "${panel.title}" (${panel.type})`, said(`panel-${index}.ts`)));
  BROKEN.forEach(([what, , , where], index) => {
    const found = said(`broken-${index}.ts`);
    note(`Grafana ${version} notices ${what}`, found.some((line) => line.startsWith(`${where}: `)) ? [] : [`nothing said about ${where}`, ...found]);
  });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
