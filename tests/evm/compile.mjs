// Compile Solidity sources with the pinned compiler: node compile.mjs NODE_MODULES SETTINGS.json FLAG FILE.sol...
// Prints {compiler, contracts: {FILE: {NAME: {abi, bytecode, deployed_bytecode}}}}; with FLAG strict any warning is an error.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";

const [modules, settingsFile, flag, ...files] = process.argv.slice(2);
const solc = createRequire(join(modules, "any.js"))(join(modules, "solc"));
const settings = JSON.parse(readFileSync(settingsFile, "utf8"));
settings.outputSelection = { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } };
const sources = Object.fromEntries(files.map((file) => [basename(file), { content: readFileSync(file, "utf8") }]));
const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
const fatal = (output.errors ?? []).filter((error) => flag === "strict" || error.severity === "error");
if (fatal.length) {
  console.error(fatal.map((error) => error.formattedMessage).join("\n"));
  process.exit(1);
}
const contracts = {};
for (const [file, found] of Object.entries(output.contracts)) {
  contracts[file] = {};
  for (const [name, made] of Object.entries(found)) {
    contracts[file][name] = {
      abi: made.abi,
      bytecode: made.evm.bytecode.object,
      deployed_bytecode: made.evm.deployedBytecode.object,
    };
  }
}
console.log(JSON.stringify({ compiler: solc.version(), contracts }));
