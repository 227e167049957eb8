import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readBeside } from "./content.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-beside-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function specWithKey(key: string): Promise<string> {
  const file = join(directory, "lab.yaml");
  const source = `{ name: other, urls: ["https://example.org/deb"], suite: /, key: ${JSON.stringify(key)} }`;
  await writeFile(
    file,
    `apiVersion: kubedos/v1
metadata: { name: lab }
underlay: { cidr: 10.100.0.0/24 }
nodes: [{ name: hub, roles: [hub] }]
platform: { sources: [${source}] }
`,
  );
  return file;
}

test("content folders, and the key of an apt source, go where the spec goes", async () => {
  const file = await specWithKey("./keys/other.asc");
  for (const path of ["ansible/tasks", "keys", "notes"]) await mkdir(join(directory, path), { recursive: true });
  for (const path of ["ansible/site.yml", "ansible/tasks/a.yml", "keys/other.asc", "notes/not-ours"]) {
    await writeFile(join(directory, path), path);
  }
  const files = await readBeside(file);
  expect(files.map(({ path, content }) => [path, Buffer.from(content).toString()])).toEqual([
    ["ansible/site.yml", "ansible/site.yml"],
    ["ansible/tasks/a.yml", "ansible/tasks/a.yml"],
    ["keys/other.asc", "keys/other.asc"],
  ]);
});

test.each(["../other.asc", "keys/../../other.asc", "/etc/other.asc"])(
  "a key elsewhere, %s, is refused",
  async (key) => {
    await expect(readBeside(await specWithKey(key))).rejects.toThrow("lies outside of the spec's directory");
  },
);

test("a key in the spec itself is no file", async () => {
  expect(await readBeside(await specWithKey("-----BEGIN PGP PUBLIC KEY BLOCK-----"))).toEqual([]);
});
