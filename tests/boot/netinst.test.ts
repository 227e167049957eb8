import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stageId, type Stage } from "../../src/assemble/engine.ts";
import { run } from "../../src/host/run.ts";
import { buildGraph } from "../../src/lifecycle/graph.ts";
import { publishedInputs } from "../../src/lifecycle/published.ts";
import { resolveClosure, updateApt } from "../../src/lock/apt.ts";
import { noHostApt } from "../../src/lock/host-apt.ts";
import type { PrivateApt } from "../../src/lock/private-apt.ts";
import { parseManifest } from "../../src/seal/manifest.ts";
import { hashFile } from "../../src/store/store.ts";
import { readAction } from "../../src/store/actions.ts";
import { grubDefault } from "../../src/targets/netinst/files.ts";
import { bootPackages, installerTools, replacedParts, unusedParts } from "../../src/targets/netinst/packages.ts";
import { copyFromIso } from "./iso.ts";
import { sandbox } from "./image.ts";
import { copyOutput } from "./outputs.ts";
import { vendorCertificate } from "./vendor-certificate.ts";
import { buildLab, labSpec, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// What Debian's installer will look for is on the medium. The installation itself takes too long for every run:
// `make test-netinst` (tests/netinst/).
let scratch: Scratch;
let lab: BuiltLab;
let medium: string;
/** What is on the medium, unpacked. */
let tree: string;
beforeAll(async () => {
  scratch = await makeScratch();
  const spec = labSpec("lab", ["raw", "netinst"]).replace(
    "nodes:",
    "platform: { kernel: generic, state: plain }\nnodes:",
  );
  lab = await buildLab(scratch, "foundry", undefined, spec);
  medium = lab.built.artifacts.find(({ target }) => target === "netinst")!.path;
  tree = await copyFromIso(lab, medium, join(scratch.directory, "medium"));
});
afterAll(() => scratch?.remove());

const read = (path: string) => readFile(join(tree, path), "utf8");

/** Paragraphs of a file in Debian's control format, as fields by name. */
function paragraphs(text: string): Map<string, string>[] {
  return text
    .split(/\n{2,}/)
    .filter((one) => one.trim() !== "")
    .map((one) => new Map([...one.matchAll(/^([\w-]+): (.*)$/gm)].map(([, name, value]) => [name!, value!])));
}

function words(list: string | undefined): string[] {
  return (list ?? "").split(/[,|]/).flatMap((one) => one.trim().split(" ")[0] || []);
}

/** The list of parts in the installer's initrd. */
async function initrdStatus(): Promise<Map<string, string>[]> {
  const out = join(scratch.directory, "initrd");
  const initrd = join(tree, "install/initrd");
  const unpack = "cd /out && zstd -dc /in/initrd | cpio --quiet -id 'var/lib/dpkg/*' preseed.cfg 'usr/share/kubedos/*'";
  await sandbox(lab, ["sh", "-c", unpack], { initrd }, out);
  return paragraphs(await readFile(join(out, "var/lib/dpkg/status"), "utf8"));
}

test("every file of both indexes is on the medium, with the hash that the signed Release leads to", async () => {
  const dists = "dists/trixie";
  const release = await read(`${dists}/Release`);
  const key = join(scratch.directory, "archive.gpg");
  await run("gpg", ["--batch", "--dearmor", "--output", key, join(tree, "darksite/archive.asc")]);
  await run("gpgv", ["--keyring", key, join(tree, dists, "Release.gpg"), join(tree, dists, "Release")]);
  let count = 0;
  for (const index of ["main/binary-amd64/Packages", "main/debian-installer/binary-amd64/Packages"]) {
    const text = await read(`${dists}/${index}`);
    expect(release).toContain(`${createHash("sha256").update(text).digest("hex")} ${Buffer.byteLength(text)} ${index}`);
    for (const fields of paragraphs(text)) {
      expect(await hashFile(join(tree, fields.get("Filename")!)), fields.get("Package")).toBe(fields.get("SHA256"));
      count += 1;
    }
  }
  const pool = (await readdir(join(tree, "darksite/pool"), { recursive: true })).filter((name) =>
    /\.u?deb$/.test(name),
  );
  expect(pool).toHaveLength(count);
  // Where the installer looks, and where people do.
  expect((await lstat(join(tree, "pool"))).isSymbolicLink()).toBe(true);
});

test("the installer's parts on the medium and in its initrd need nothing that is not there", async () => {
  const parts = paragraphs(await read("dists/trixie/main/debian-installer/binary-amd64/Packages"));
  const all = [...parts, ...(await initrdStatus())];
  const there = new Set(all.flatMap((fields) => [fields.get("Package")!, ...words(fields.get("Provides"))]));
  // The modules come with the platform's kernel.
  const modules = /-modules(-|$)|^kernel-image/;
  const missing = all.flatMap((fields) =>
    (fields.get("Depends") ?? "")
      .split(",")
      .map((one) => words(one))
      .filter((ways) => ways.length > 0 && !ways.some((way) => there.has(way) || modules.test(way)))
      .map((ways) => ways.join(" | ")),
  );
  expect([...new Set(missing)].toSorted()).toEqual(unusedParts.filter((name) => missing.includes(name)));
  for (const name of replacedParts) expect(there).toContain(name);
});

test("apt installs the platform in the lock's versions, and either boot loader, from the medium alone", async () => {
  const directory = join(scratch.directory, "apt");
  const sources = [{ archive: "debian", suite: "trixie", components: ["main"] }];
  const apt: PrivateApt = await updateApt(
    {
      directory,
      sources,
      mirrors: { debian: [`file:${join(tree, "darksite")}`] },
      keyring: join(tree, "darksite/archive.asc"),
      host: noHostApt,
    },
    scratch.context,
  );
  const listed = (await read("kubedos/packages")).trim().split("\n");
  const names = listed.map((line) => line.split("=")[0]!);
  const { signal } = scratch.context;
  for (const loader of [["grub-pc"], ["grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed", "efibootmgr"]]) {
    const installs = ["linux-image-amd64", "initramfs-tools", "busybox", "zstd", "signify-openbsd", "cpio"];
    const closure = await resolveClosure(apt, [...names, ...installs, ...loader], signal);
    const found = closure.map(({ name, version }) => `${name}=${version}`);
    expect(listed.filter((line) => !found.includes(line))).toEqual([]);
  }
  // What debootstrap takes by itself.
  const index = paragraphs(await read("dists/trixie/main/binary-amd64/Packages"));
  const essential = index.filter((fields) => fields.get("Essential") === "yes");
  expect(essential.length).toBeGreaterThan(20);
});

test("answers and menus are sound: debconf, isolinux's kernel and initrd, grub-script-check", async () => {
  await initrdStatus();
  await run("debconf-set-selections", ["--checkonly", join(scratch.directory, "initrd/preseed.cfg")]);
  expect(await read("isolinux/isolinux.cfg")).toMatch(/KERNEL \/install\/vmlinuz\n {2}INITRD \/install\/initrd\n/);
  const grub = await packageFiles("grub-common");
  const check = "for file in /in/menu /in/first; do /in/grub/usr/bin/grub-script-check $file || exit 1; done";
  const inputs = { grub, menu: join(tree, "boot/grub/grub.cfg"), first: join(await espFiles(), "EFI/debian/grub.cfg") };
  await sandbox(lab, ["sh", "-c", check], inputs, join(scratch.directory, "grub-out"));
});

test("GRUB, with the terminal that it is told, starts a machine with BIOS and without a screen", async () => {
  const [, terminal] = /^GRUB_TERMINAL=(\w+)$/m.exec(grubDefault())!;
  const config = join(scratch.directory, "screenless.cfg");
  // An entry that says by QEMU's exit status that it was reached: (0x31 << 1) | 1.
  const entry = "menuentry reached {\n outb 0x501 0x31\n}";
  await writeFile(config, `set timeout=0\nterminal_input ${terminal}\nterminal_output ${terminal}\n${entry}\n`);
  const make = [
    "modules=/in/modules/usr/lib/grub/i386-pc",
    "export PATH=/in/grub/usr/bin:$PATH",
    "grub-mkstandalone -d $modules -O i386-pc -o /work/core --install-modules='normal terminal iorw memdisk tar' \\",
    "  --modules='biosdisk iorw terminal' --locales= --fonts= --themes= boot/grub/grub.cfg=/in/config",
    "cat $modules/boot.img /work/core > /out/disk && truncate -s 4M /out/disk",
  ].join("\n");
  const out = join(scratch.directory, "screenless");
  const inputs = { grub: await packageFiles("grub-common"), modules: await packageFiles("grub-pc-bin"), config };
  await sandbox(lab, ["sh", "-euc", make], inputs, out);
  const screenless = ["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-m", "128"];
  const disk = [
    "-drive",
    `file=${join(out, "disk")},format=raw,if=none,id=disk`,
    "-device",
    "virtio-blk-pci,drive=disk",
  ];
  const exit = ["-device", "isa-debug-exit,iobase=0x501,iosize=1"];
  const { status } = await run("qemu-system-x86_64", [...screenless, ...disk, ...exit], {
    timeoutMs: 60_000,
    okStatuses: [0x63],
  });
  expect(status).toBe(0x63);
});

test("firmware with Microsoft's keys accepts shim, and shim accepts GRUB and the kernel", async () => {
  const esp = await espFiles();
  const boot = (name: string) => join(esp, "EFI/BOOT", name);
  // shim's own certificate: https://github.com/rhboot/shim, struct cert_table in the section .vendor_cert.
  const shim = await readFile(boot("BOOTX64.EFI"));
  const section = vendorCertificate(shim);
  const debian = join(scratch.directory, "debian.der");
  await writeFile(debian, section);
  const pem = join(scratch.directory, "debian.pem");
  await run("openssl", ["x509", "-inform", "der", "-in", debian, "-out", pem]);
  const microsoft = "/usr/lib/python3/dist-packages/virt/firmware/certs/MicrosoftCorporationUEFICA2011.pem";
  const out = join(scratch.directory, "sb");
  await sandbox(lab, ["sbverify", "--cert", microsoft, "/in/shim"], { shim: boot("BOOTX64.EFI") }, out);
  const kernel = join(tree, "install/vmlinuz");
  for (const image of [boot("grubx64.efi"), kernel]) {
    await sandbox(lab, ["sbverify", "--cert", "/in/pem", "/in/image"], { pem, image }, out);
    await expect(sandbox(lab, ["sbverify", "--cert", microsoft, "/in/image"], { image }, out)).rejects.toThrow(
      /sbverify/,
    );
  }
});

test("bills of materials name what the medium holds, no more and no less, and the parts in the installer's initrd", async () => {
  const pool = join(tree, "darksite/pool");
  const files = (await readdir(pool, { recursive: true })).filter((name) => /\.u?deb$/.test(name));
  const held = new Set(await Promise.all(files.map((name) => hashFile(join(pool, name)))));
  const names = new Set([...replacedParts]);
  const parts = (await initrdStatus()).filter((fields) => !names.has(fields.get("Package")!));
  const inInitrd = parts.map((fields) => `${fields.get("Package")} ${fields.get("Version")}`);

  const cyclonedx = JSON.parse(await published("sbom-netinst.cdx.json")) as {
    components: {
      type: string;
      name: string;
      version?: string;
      hashes?: { alg: string; content: string }[];
      licenses?: { expression: string }[];
      properties: { name: string; value: string }[];
    }[];
  };
  const at = (layer: string) =>
    cyclonedx.components.filter(({ type, properties }) => type === "library" && properties[0]!.value === layer);
  expect(new Set(at("medium").map(({ hashes }) => hashes![0]!.content))).toEqual(held);
  const started = at("installer").map(({ name, version }) => `${name} ${version}`);
  expect(started).toEqual(expect.arrayContaining(inInitrd));
  // Beside them kernel and Debian's build of the installer, boot loaders, and the tools for file systems.
  const more = started.filter((one) => !inInitrd.includes(one)).map((one) => one.split(" ")[0]!);
  const others = more.filter((name) => !/^(linux-image-\d|debian-installer-)/.test(name));
  expect(more).toHaveLength(others.length + 2);
  expect(others.toSorted()).toEqual([...bootPackages, ...installerTools].toSorted());
  for (const { name, hashes, properties } of cyclonedx.components) {
    if (!name.startsWith("/") || properties[0]!.value !== "medium") continue;
    expect(await hashFile(join(tree, name)), name).toBe(hashes!.find(({ alg }) => alg === "SHA-256")!.content);
  }

  // What the platform has not has a licence too, where its own copyright file can be read by machines.
  const platform = JSON.parse(await published("sbom.cdx.json")) as typeof cyclonedx;
  const inRoot = new Set(platform.components.map(({ name }) => name));
  const licences = new Map(at("medium").map(({ name, licenses }) => [name, licenses]));
  const beside = files.filter((name) => name.endsWith(".deb") && !inRoot.has(packageOf(name)));
  expect(beside.length).toBeGreaterThan(15);
  for (const name of beside) {
    const copyright = await copyrightOf(join(pool, name));
    if (copyright === "") continue; // a link to another package's
    const isReadable = /^Format(-Specification)?:.*(copyright-format|dep5)/im.test(copyright.split(/\n\s*\n/)[0]!);
    expect(licences.get(packageOf(name)) !== undefined, name).toBe(isReadable);
  }
  expect(licences.get("grub-common")).toBeDefined();
  expect(at("installer").find(({ name }) => name === "syslinux-common")?.licenses).toBeDefined();

  const spdx = JSON.parse(await published("sbom-netinst.spdx.json")) as {
    packages: { comment?: string; checksums?: { checksumValue: string }[] }[];
  };
  const described = spdx.packages.filter(({ comment }) => comment === "in the medium");
  expect(new Set(described.map(({ checksums }) => checksums![0]!.checksumValue))).toEqual(held);
  expect(spdx.packages.filter(({ comment }) => comment === "in the installer")).toHaveLength(started.length);
});

/** Name of the package in a file of the pool. */
function packageOf(path: string): string {
  return basename(path).split("_")[0]!;
}

/** The copyright file of a package; empty if it has none of its own. */
async function copyrightOf(deb: string): Promise<string> {
  const script = [
    'dpkg-deb --fsys-tarfile "$1" > "$2"; tar -tf "$2" > "$2.names"',
    'grep -q "^\\./usr/share/doc/[^/]*/copyright$" "$2.names" || exit 0',
    'tar -xOf "$2" --wildcards "./usr/share/doc/?*/copyright"',
  ].join("\n");
  return (await run("sh", ["-euc", script, "sh", deb, join(scratch.directory, "data")])).stdout;
}

test("made again without the vault, from what is published, the medium has the same bytes", async () => {
  const { project, built } = lab;
  const { signal } = scratch.context;
  const manifest = parseManifest(await readFile(built.manifest, "utf8"), built.manifest);
  const inputs = await publishedInputs(project.paths, project.paths.out, manifest, scratch.directory, signal);
  const { stage } = buildGraph(inputs, project.store).targets.find(({ name }) => name === "netinst")!;
  // The repository, for which the key is not needed again, and then the medium with it.
  const repository = stage.inputs["repository"] as { stage: Stage; output: string };
  const made = { repository: join(await again(repository.stage), repository.output) };
  expect(await hashFile(join(await again(stage, made), "image"))).toBe(await hashFile(medium));

  const without = join(scratch.directory, "without");
  await copyOutput(project.paths.out, without);
  const older = { ...manifest, documents: manifest.documents.filter(({ file }) => !file.startsWith("netinst.")) };
  await expect(publishedInputs(project.paths, without, older, scratch.directory, signal)).rejects.toThrow(
    /netinst holds a signature that is not published/,
  );
});

/** Runs a stage once more. @returns the directory with its outputs */
async function again(stage: Stage, made: Readonly<Record<string, string>> = {}): Promise<string> {
  const { store } = lab.project;
  const inputs: Record<string, string> = { ...made };
  for (const [name, input] of Object.entries(stage.inputs)) {
    const sha256 =
      "sha256" in input ? input.sha256 : (await readAction(store, stageId(input.stage)))!.outputs[input.output]!.sha256;
    inputs[name] ??= store.path(sha256);
  }
  const out = join(scratch.directory, `again-${stage.name}`);
  await mkdir(out);
  await stage.run({ inputs, meta: {}, out, progress: () => undefined, signal: scratch.context.signal });
  return out;
}

/** A text that is published beside the medium. */
function published(name: string): Promise<string> {
  return readFile(join(lab.project.paths.out, name), "utf8");
}

/** A package's files, unpacked. */
async function packageFiles(name: string): Promise<string> {
  const { lock, store } = lab.project;
  const entry = [...lock.platform, ...lock.netinst!].find((one) => one.name === name)!;
  const directory = join(scratch.directory, name);
  await run("dpkg-deb", ["--extract", store.path(entry.sha256), directory]);
  return directory;
}

/** Files of the medium's partition for UEFI. */
async function espFiles(): Promise<string> {
  const out = join(scratch.directory, "esp");
  const unpack =
    "xorriso -osirrox on -indev /in/iso -extract_boot_images /out 2>/dev/null; mcopy -n -s -i /out/gpt_part2_efi.img ::/EFI /out";
  await sandbox(lab, ["sh", "-c", unpack], { iso: medium }, out);
  return out;
}
