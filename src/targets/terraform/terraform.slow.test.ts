import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fakeSpec } from "../../../tests/fakes/spec.ts";
import { run } from "../../host/run.ts";
import { terraformFiles } from "./index.ts";

const image = { file: "example.qcow2", sha256: "ab".repeat(32) };
const files = new Map(terraformFiles(fakeSpec(), image).map(({ name, content }) => [name, content]));
const modules = ["proxmox", "libvirt"] as const;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-terraform-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** What a module in JSON syntax holds, as far as these tests look. */
interface JsonModule {
  variable: Record<string, { type: string; description: string; default?: unknown }>;
  resource: Record<string, Record<string, Record<string, unknown>>>;
  locals: { nodes: Record<string, unknown>; image_sha256: string };
}

test.each(modules)("%s: HCL's own parser reads it, and would format it the same", async (name) => {
  // Packer's formatter is HCL's; it looks at files with its own ending only.
  const file = join(directory, `${name}.pkr.hcl`);
  await writeFile(file, files.get(`${name}/main.tf`)!);
  const options = { env: { CHECKPOINT_DISABLE: "1" }, okStatuses: [0, 1, 2, 3] };
  expect(await run("packer", ["fmt", "-check", "-diff", file], options)).toMatchObject({ status: 0, stdout: "" });
  await writeFile(file, files.get(`${name}/main.tf`)!.replace("locals {", "locals {{"));
  expect((await run("packer", ["fmt", "-check", file], options)).status).not.toBe(0);
});

test.each(modules)("%s: every variable and every resource that is named is declared, in both syntaxes", (name) => {
  const text = files.get(`${name}-json/main.tf.json`)!;
  const { variable, resource, locals } = JSON.parse(text) as JsonModule;
  for (const syntax of [text, files.get(`${name}/main.tf`)!]) {
    const variables = [...syntax.matchAll(/\bvar\.(\w+)/g)].map(([, found]) => found!);
    expect(new Set(variables)).toEqual(new Set(Object.keys(variable)));
    const resources = [...syntax.matchAll(/\b((?:proxmox|libvirt)_\w+)\.(\w+)/g)];
    expect(resources.length).toBeGreaterThan(2);
    for (const [, type, label] of resources) expect(resource[type!]?.[label!], `${type}.${label}`).toBeDefined();
  }
  expect(Object.keys(locals.nodes)).toEqual(["hub-1", "core-1", "worker-1"]);
  expect(locals.image_sha256).toBe(image.sha256);
});

test.each(modules)("%s: each node has a disk of the sealed image, its own seed, UEFI and a TPM", (name) => {
  const { resource } = JSON.parse(files.get(`${name}-json/main.tf.json`)!) as JsonModule;
  const machine = resource[name === "proxmox" ? "proxmox_virtual_environment_vm" : "libvirt_domain"]!["node"]!;
  expect(machine["for_each"]).toBe("${local.nodes}");
  const disks = JSON.stringify(machine["disk"]);
  expect(disks).toMatch(
    name === "proxmox" ? /file\.image\.id.*file\.seed\[each\.key\]/ : /disk\[each\.key\].*seed\[each\.key\]/,
  );
  expect(machine).toMatchObject(
    name === "proxmox" ? { bios: "ovmf", tpm_state: { version: "v2.0" } } : { tpm: { backend_version: "2.0" } },
  );
});
