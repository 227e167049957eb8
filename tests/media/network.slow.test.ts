import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createServer, type AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { serveFiles } from "../../src/host/file-server.ts";
import { run } from "../../src/host/run.ts";
import { at, blank, disk, eachInScratch, head, image, sha256, writer } from "./writer.ts";

// The writer that was started over the network: image and seeds come from a server.
eachInScratch();

/** The writer with a network card that has a link, a server at the address that the spec or DHCP says, and no waiting. */
async function fromNetwork(files: Record<string, string | Uint8Array>, words: string, url?: string) {
  for (const [card, link] of [
    ["lo", "1"],
    ["eth0", "0"],
    ["eth1", "1"],
  ] as const) {
    await mkdir(at("sys/class/net", card), { recursive: true });
    await writeFile(at("sys/class/net", card, "carrier"), link);
  }
  const served = new Map(
    Object.entries(files).map(([name, content]) => [`/${name}`, { content: Buffer.from(content) }]),
  );
  const server = await serveFiles({ address: "127.0.0.1", port: 0 }, served, () => undefined);
  try {
    // A static busybox may be unable to look up names where it was not built: curl stands in for its wget.
    const wget = 'wget() { for url; do :; done; curl -sSf --noproxy "*" "$url"; }';
    const alone = `${wget}; ip() { :; }; udhcpc() { :; }; sleep() { :; }; write_lease_script() { :; }`;
    const want_server = url ?? `http://127.0.0.1:${server.port}/`;
    return await writer(`${alone}; open_source; ${words}`, { want_server }, ["network"]);
  } finally {
    await server.close();
  }
}

test("modules: in their order, and of the drivers of network cards only those of the cards that are here", async () => {
  const devices = {
    "0000:00:01.0": ["0x010601", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"],
    "0000:00:02.0": ["0x020000", "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00"],
    "0000:00:03.0": ["0x020700", "pci:v000015B3d00001003sv000015B3sd00000001bc02sc07i00"],
  };
  for (const [name, [kind, alias]] of Object.entries(devices)) {
    const device = at("sys/bus/pci/devices", name);
    await mkdir(device, { recursive: true });
    await writeFile(join(device, "class"), `${kind}\n`);
    await writeFile(join(device, "modalias"), `${alias}\n`);
  }
  const cards = ["igb 000010C9", "e1000e 000010D3", "e1000e 000010D4", "mlx4_core 00001003", "ahci 00002922"];
  const patterns = cards.map((card) => card.replace(/ (\w+)$/, ".ko pci:v*d$1sv*sd*bc*sc*i*\n"));
  await writeFile(at("here/cards"), patterns.join(""));
  const order = ["dca", "igb", "virtio_net", "e1000e", "ahci", "mlx4_core", "mlx4_en"];
  await writeFile(at("here/order"), order.map((name) => `${name}.ko\n`).join(""));
  const { said } = await writer(`modules='${at("here")}'; needed_modules`, {}, ["drivers"]);
  // A driver of cards is one that the list names; another device than a card does not ask for it.
  expect(said.trim().split("\n")).toEqual(["dca.ko", "virtio_net.ko", "e1000e.ko", "mlx4_core.ko", "mlx4_en.ko"]);
});

test("network: the card with a link is asked; image and seeds come from the server", async () => {
  const files = { "image.sha256": sha256, "image.zst": "packed", seeds: "sealed" };
  const { said } = await fromNetwork(files, "zstd() { cat; }; unpacked; echo; sealed_seeds");
  expect(said).toMatch(/image from http:\/\/127\.0\.0\.1:\d+ by eth1\npacked\nsealed$/);
});

test.each([
  ["a server with another image", { "image.sha256": "0".repeat(64) }, undefined, / has another image than this writer/],
  ["a server without an image", {}, undefined, /no server with the image: http:\S+ does not answer/],
  ["no server", {}, "http://127.0.0.1:1", /no server with the image: http:\S+ does not answer/],
  ["nobody who names a server", {}, "", /no server with the image: eth1 has an address, and nobody says where/],
])("network: %s: stopped before anything is written", async (_what, files, url, message) => {
  const { said, ended } = await fromNetwork(files, "echo complete", url);
  expect(said).toMatch(message);
  expect(ended).toBe(false);
});

test("network: a server that goes away in the midst: stopped, and the disk is not one that starts", async () => {
  await disk("vda");
  await writeFile(at("image"), image);
  const packed = (await run("zstd", ["-qc", at("image")])).stdoutBytes;
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (request) => {
      const whole = String(request).includes("image.sha256") ? Buffer.from(sha256) : packed;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${whole.length}\r\nConnection: close\r\n\r\n`);
      socket.end(whole.length === 64 ? whole : whole.subarray(0, whole.length / 2));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const { said, ended } = await fromNetwork({}, "target=$dev/vda; chosen=''; write_image", url);
    expect(said).toMatch(/installation stopped: http:\S+ cannot be read to its end \(gone, or unreachable\?\)/);
    expect(ended).toBe(false);
    expect((await head()).equals(blank)).toBe(true);
  } finally {
    server.close();
  }
});
