import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A fake registry on loopback: what it is given, with a token or password where asked for, and with mistakes. */
export interface FakeRegistry {
  /** `127.0.0.1:PORT`. */
  host: string;
  /** Puts content in and returns its digest. */
  blob(content: Buffer): string;
  manifest(tags: readonly string[], mediaType: string, content: unknown): { digest: string; size: number };
  /** Answers the content of `digest` with this instead. */
  alter(digest: string, content: Buffer): void;
  /** Removes a content. */
  forget(digest: string): void;
  /** Requests that were answered, `GET /v2/…`, and the Authorization header of each. */
  seen: { path: string; authorization?: string }[];
  close(): Promise<void>;
}

export interface RegistryProtection {
  scheme: "basic" | "bearer";
  user: string;
  password: string;
}

export async function startFakeRegistry(protection?: RegistryProtection): Promise<FakeRegistry> {
  const contents = new Map<string, { bytes: Buffer; type: string }>();
  const tags = new Map<string, string>();
  const seen: FakeRegistry["seen"] = [];
  const put = (bytes: Buffer, type: string) => {
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    contents.set(digest, { bytes, type });
    return digest;
  };
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url!, "http://registry");
    const { authorization } = request.headers;
    seen.push({ path: url.pathname, authorization });
    if (url.pathname === "/token") {
      const given = Buffer.from(authorization?.slice("Basic ".length) ?? "", "base64").toString();
      if (given !== `${protection?.user}:${protection?.password}`) return end(response, 401);
      return end(response, 200, { "content-type": "application/json" }, JSON.stringify({ token: "the-token" }));
    }
    if (protection !== undefined && !isAllowed(protection, authorization)) {
      const realm = `http://${request.headers.host}/token`;
      const challenge =
        protection.scheme === "basic" ? 'Basic realm="fake"' : `Bearer realm="${realm}",service="fake",scope="pull"`;
      return end(response, 401, { "www-authenticate": challenge });
    }
    const [, kind, which] = /^\/v2\/[\w./-]+\/(manifests|blobs)\/([\w:.-]+)$/.exec(url.pathname) ?? [];
    const digest = which?.startsWith("sha256:") ? which : tags.get(which ?? "");
    const content = digest === undefined ? undefined : contents.get(digest);
    if (content === undefined) return end(response, 404);
    const headers = {
      "content-type": content.type,
      ...(kind === "manifests" ? { "docker-content-digest": digest! } : {}),
    };
    end(response, 200, headers, content.bytes);
  };
  const server: Server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    blob: (content) => put(content, "application/octet-stream"),
    manifest(names, type, content) {
      const bytes = Buffer.from(JSON.stringify(content));
      const digest = put(bytes, type);
      for (const name of names) tags.set(name, digest);
      return { digest, size: bytes.length };
    },
    alter: (digest, bytes) => contents.set(digest, { bytes, type: contents.get(digest)?.type ?? "" }),
    forget: (digest) => contents.delete(digest),
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function isAllowed({ scheme, user, password }: RegistryProtection, header: string | undefined): boolean {
  const expected =
    scheme === "bearer" ? "Bearer the-token" : `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  return header === expected;
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}, body?: string | Buffer) {
  response.writeHead(status, headers).end(body);
}

/** A small image for one platform in a fake registry: one layer, its configuration, its manifest. */
export function putImage(
  registry: FakeRegistry,
  tags: readonly string[],
  platform: { os: string; architecture: string } = { os: "linux", architecture: "amd64" },
  layer = Buffer.from(`layer of ${tags.join()} ${platform.architecture}`),
): { digest: string; size: number; layer: string; config: string } {
  const config = Buffer.from(JSON.stringify({ ...platform, rootfs: { type: "layers", diff_ids: [] } }));
  const configDigest = registry.blob(config);
  const layerDigest = registry.blob(layer);
  const made = registry.manifest(tags, ociManifest, {
    schemaVersion: 2,
    mediaType: ociManifest,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: configDigest, size: config.length },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: layerDigest, size: layer.length }],
  });
  return { ...made, layer: layerDigest, config: configDigest };
}

export const ociManifest = "application/vnd.oci.image.manifest.v1+json";
export const ociIndexType = "application/vnd.oci.image.index.v1+json";
