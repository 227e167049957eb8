import { generateKeyPairSync } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatPlace, type KubedosError } from "../../shared/error.ts";
import { readBeside } from "../lifecycle/content.ts";
import { loadSpec } from "./load.ts";

const rsa = (bits: number, exponent?: number) =>
  generateKeyPairSync("rsa", { modulusLength: bits, publicExponent: exponent });
const pem = (key: { publicKey: { export(options: { type: "spki"; format: "pem" }): string | Buffer } }) =>
  key.publicKey.export({ type: "spki", format: "pem" }).toString();
const [first, second] = [rsa(2048), rsa(2048)];

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-tpm-"));
  await mkdir(join(directory, "keys"));
});
afterAll(() => rm(directory, { recursive: true }));

/** The spec of two machines with these keys in files, or what is wrong with it. */
async function load(one: string, other: string, names = ["keys/a.pem", "keys/B.pem"]) {
  await writeFile(join(directory, "keys/a.pem"), one);
  await writeFile(join(directory, "keys/B.pem"), other);
  const file = join(directory, "x.yaml");
  const nodes = names.map((name, i) => `  - name: n${i + 1}\n    role: hub\n    hardware:\n      tpm: ${name}\n`);
  await writeFile(file, `apiVersion: kubedos/v1\nmetadata: { name: demo }\nnodes:\n${nodes.join("")}`);
  const refused = (error: unknown) => {
    const { problems } = error as KubedosError;
    return (problems ?? []).map(({ message, hint, at }) => {
      expect(hint).toBeDefined();
      return `${formatPlace(at!).slice(directory.length + 1)}: ${message.replaceAll(directory, "")}`;
    });
  };
  return loadSpec(file).then(({ nodes: loaded }) => loaded.map(({ hardware }) => hardware), refused);
}

test("keys of TPMs in files beside the spec, which belong to it", async () => {
  const loaded = await load(pem(first), `\n${pem(second).replaceAll("\n", "\r\n")}`);
  expect(loaded).toEqual([{ tpm: pem(first) }, { tpm: pem(second) }]);
  const beside = await readBeside(join(directory, "x.yaml"));
  expect(beside.map(({ path }) => path)).toEqual(["keys/B.pem", "keys/a.pem"]);
});

test("or in the spec itself", async () => {
  const text = pem(first).trim().split("\n").join("\n        ");
  expect(await load("", pem(second), [`|\n        ${text}`, "keys/B.pem"])).toEqual([
    { tpm: pem(first) },
    { tpm: pem(second) },
  ]);
});

test.each([
  ["no PEM", "hello", /not a public key in PEM/],
  ["no key", pem(first).slice(0, 200) + pem(first).slice(220), /a damaged public key/],
  ["of another size", pem(rsa(3072)), /kind rsa, 3072 bits, exponent 65537; it must be rsa, 2048 bits, exponent 65537/],
  ["with another exponent", pem(rsa(2048, 3)), /kind rsa, 2048 bits, exponent 3; /],
  ["of another kind", pem(generateKeyPairSync("ec", { namedCurve: "P-256" })), /a key of the kind ec; /],
  [
    "a private key",
    first.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    /this is a private key, which is not a TPM's/,
  ],
])("a key that is %s is refused where it is written", async (_what, bad, message) => {
  const [problem, ...more] = await load(pem(first), bad);
  expect(problem).toMatch(/^x\.yaml:11:12: TPM of node `n2`: /);
  expect(problem).toMatch(message);
  expect(more).toEqual([]);
});

test("so are a key that two nodes have, and a file that is not there", async () => {
  expect(await load(pem(first), pem(first))).toEqual(["x.yaml:11:12: TPM of node `n2` has the key of node `n1`"]);
  expect(await load("", pem(second), ["keys/none.pem", "keys/B.pem"])).toEqual([
    "x.yaml:7:12: TPM of node `n1`: cannot read /keys/none.pem",
  ]);
});
