import type { X509Certificate } from "node:crypto";
import type { IncomingMessage, Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";

/** A certificate with its intermediate, and its private key, PEM. */
export interface Material {
  cert: string;
  key: string;
}

/** One request of somebody whom the cluster layer names. */
export interface MemberRequest {
  /** Common name of the certificate: a node, or `operatorCommonName`. */
  member: string;
  request: IncomingMessage;
  answer(code: number, body: unknown): void;
}

export interface MemberServer {
  port: number;
  /** Takes up a renewed certificate. */
  renew(material: Material): void;
  close(): void;
}

/**
 * JSON over mutual TLS 1.3 on one address of the control plane, for members of the cluster layer: their certificates are
 * of the agents' own authority.
 *
 * @param members common names that may ask
 * @param listen.port 0: any that is free
 * @throws when the address cannot be bound, or the layer has no PKI
 */
export async function serveMembers(
  layer: ClusterLayer,
  members: ReadonlySet<string>,
  listen: { address: string; port: number; maxConnections: number },
  material: Material,
  onRequest: (request: MemberRequest) => void,
): Promise<MemberServer> {
  // Loaded here: it costs a slow machine a noticeable part of a second that the planes should not wait for.
  const [{ createServer }, { X509Certificate: Certificate }] = await Promise.all([
    import("node:https"),
    import("node:crypto"),
  ]);
  const trust = trustOf(layer);
  const authority = new Certificate(trust.authority);
  const options = {
    ...trust.tls,
    requestCert: true,
    rejectUnauthorized: true,
    maxHeaderSize: 4096,
    requestTimeout: 10_000,
  };
  const server = createServer({ ...options, ...material }, (request, response) => {
    function answer(code: number, body: unknown): void {
      response.writeHead(code, { "content-type": "application/json", "cache-control": "no-store" });
      response.end(`${JSON.stringify(body)}\n`);
    }
    const member = memberOf((request.socket as TLSSocket).getPeerX509Certificate(), authority);
    if (member !== undefined && members.has(member)) return onRequest({ member, request, answer });
    request.resume();
    answer(403, { error: "not a member of this cluster" });
  });
  server.maxConnections = listen.maxConnections;
  await listening(server, listen);
  return {
    port: (server.address() as AddressInfo).port,
    renew: (fresh) => server.setSecureContext({ ...trust.tls, ...fresh }),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** OpenSSL wants a chain up to a root; that it goes through the agents' own authority is for `memberOf` to check. */
export function trustOf(layer: ClusterLayer): { authority: string; tls: { ca: string[]; minVersion: "TLSv1.3" } } {
  const { pki } = layer;
  if (pki === undefined) throw new KubedosError("failed", "the cluster layer has no PKI");
  return { authority: pki.authorities.agent, tls: { ca: [pki.root, pki.authorities.agent], minVersion: "TLSv1.3" } };
}

/** The name in a certificate of this authority; undefined: it is of another one, or has none. */
export function memberOf(peer: X509Certificate | undefined, authority: X509Certificate): string | undefined {
  if (peer === undefined || !peer.verify(authority.publicKey)) return undefined;
  return /^CN=(.*)$/m.exec(peer.subject)?.[1];
}

function listening(server: Server, { address, port }: { address: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, resolve);
  });
}
