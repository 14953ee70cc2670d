// Compiles tests/contracts/*.sol into target/contracts/<Name>.json: { abi, bytecode }.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const solc = createRequire(at(".tools/package.json"))("solc");

const files = readdirSync(at("tests/contracts")).filter((file) => file.endsWith(".sol"));
const content = (file) => readFileSync(at(`tests/contracts/${file}`), "utf8");
const output = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources: Object.fromEntries(files.map((file) => [file, { content: content(file) }])),
      settings: {
        // Older than the node's own rules, so that a newer node changes nothing here.
        evmVersion: "cancun",
        optimizer: { enabled: true, runs: 200 },
        outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
      },
    }),
  ),
);

for (const problem of output.errors ?? []) console.error(problem.formattedMessage);
if ((output.errors ?? []).length > 0) process.exit(1);

mkdirSync(at("target/contracts"), { recursive: true });
for (const [name, contract] of Object.values(output.contracts).flatMap(Object.entries)) {
  const artefact = { abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` };
  writeFileSync(at(`target/contracts/${name}.json`), JSON.stringify(artefact));
  console.log(`compiled ${name} with solc ${solc.version()}`);
}
