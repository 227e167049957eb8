import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { run } from "../../src/host/run.ts";

/** Debian's docker-registry on loopback: the real thing, not a fake. */
export interface DebianRegistry {
  host: string;
  stop(): Promise<void>;
}

export async function startRegistry(directory: string): Promise<DebianRegistry> {
  await mkdir(directory, { recursive: true });
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const config = join(directory, "config.yml");
  const storage = `storage: { filesystem: { rootdirectory: ${join(directory, "data")} } }`;
  await writeFile(config, `version: 0.1\nlog: { level: error }\n${storage}\nhttp: { addr: "${host}" }\n`);
  const child = spawn("docker-registry", ["serve", config], { stdio: "ignore" });
  for (let tries = 0; ; tries++) {
    const answer = await fetch(`http://${host}/v2/`).catch(() => undefined);
    if (answer?.ok === true) break;
    if (tries > 200) throw new Error("docker-registry does not answer");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    host,
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.kill("SIGTERM");
      }),
  };
}

/** Pushes an image of one small layer with skopeo. */
export async function pushImage(
  registry: DebianRegistry,
  directory: string,
  name: string,
): Promise<{ reference: string; layer: string; manifest: string }> {
  const blobs = join(directory, "blobs/sha256");
  await mkdir(blobs, { recursive: true });
  const put = async (content: Buffer, mediaType: string) => {
    const sha256 = createHash("sha256").update(content).digest("hex");
    await writeFile(join(blobs, sha256), content);
    return { mediaType, digest: `sha256:${sha256}`, size: content.length };
  };
  const tar = Buffer.alloc(10_240); // an empty archive
  const diff = `sha256:${createHash("sha256").update(tar).digest("hex")}`;
  const layer = await put(gzipSync(tar), "application/vnd.oci.image.layer.v1.tar+gzip");
  const rootfs = { type: "layers", diff_ids: [diff] };
  const config = await put(
    Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs })),
    "application/vnd.oci.image.config.v1+json",
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = await put(
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [layer] })),
    mediaType,
  );
  await writeFile(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(join(directory, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  const reference = `${registry.host}/${name}`;
  const copy = ["copy", "--insecure-policy", "--dest-tls-verify=false", "--quiet"];
  await run("skopeo", [...copy, `oci:${directory}`, `docker://${reference}`]);
  return { reference, layer: layer.digest.slice(7), manifest: manifest.digest.slice(7) };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
