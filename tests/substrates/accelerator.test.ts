import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RunContext } from "../../src/host/context.ts";
import { bootSector, chooseAccelerator, probe } from "../../src/substrates/qemu/accelerator.ts";

describe("accelerator", () => {
  const context: RunContext = { emit: () => undefined, signal: AbortSignal.timeout(60_000), offline: true };
  let cache: string;

  beforeEach(async () => {
    cache = await mkdtemp(join(tmpdir(), "kubedos-cache-"));
    process.env["KUBEDOS_CACHE"] = cache;
  });

  afterEach(async () => {
    delete process.env["KUBEDOS_CACHE"];
    await rm(cache, { recursive: true });
  });

  it("finds that TCG runs the probe guest: interrupts, page tables, 64-bit mode", async () => {
    expect(await probe("tcg", context)).toBe(true);
  });

  it("finds that a guest which hangs is of no use, within its time limit", async () => {
    const hangs = bootSector();
    hangs.set([0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp to the hlt
    expect(await probe("tcg", context, hangs)).toBe(false);
  });

  it("finds that a guest which resets is of no use", async () => {
    const resets = bootSector();
    resets.set([0xea, 0xf0, 0xff, 0x00, 0xf0]); // jmp f000:fff0
    expect(await probe("tcg", context, resets)).toBe(false);
  });

  it("remembers the answer for this boot of the host, and asks again when the memory is damaged", async () => {
    const file = join(cache, "host.json");
    const first = await chooseAccelerator(context);
    const known = JSON.parse(await readFile(file, "utf8")) as { key: string; accelerator: string };
    expect(known.accelerator).toBe(first);
    const other = first === "tcg" ? "kvm" : "tcg";
    await writeFile(file, JSON.stringify({ ...known, accelerator: other }));
    expect(await chooseAccelerator(context)).toBe(other);
    await writeFile(file, JSON.stringify({ ...known, key: "another boot", accelerator: other }));
    expect(await chooseAccelerator(context)).toBe(first);
    await writeFile(file, '{"key":');
    expect(await chooseAccelerator(context)).toBe(first);
  });
});
