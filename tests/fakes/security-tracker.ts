import type { Lock, LockedPackage } from "../../src/lock/types.ts";

/** One CVE of a document in the tracker's own format. */
function issue(releases: Record<string, unknown>): unknown {
  return { description: "made for a test", scope: "remote", releases };
}

function trixie(fields: Record<string, unknown>): unknown {
  return issue({
    trixie: { repositories: { trixie: "1.0-1" }, ...fields },
    bookworm: { status: "open", repositories: {}, urgency: "high" },
  });
}

/** A small document as the security tracker serves it, about the packages of `auditedLock`. */
export function trackerDocument(): unknown {
  return {
    openssl: {
      "CVE-2026-0001": trixie({ status: "resolved", fixed_version: "3.5.7-1~deb13u4", urgency: "high" }),
      "CVE-2026-0002": trixie({ status: "resolved", fixed_version: "3.5.7-1~deb13u3", urgency: "high" }),
      "CVE-2026-0003": trixie({ status: "resolved", fixed_version: "0", urgency: "unimportant" }),
      "CVE-2026-0004": trixie({ status: "open", urgency: "low**", nodsa: "Minor issue", nodsa_reason: "postponed" }),
      "CVE-2026-0005": issue({ bookworm: { status: "open", repositories: {}, urgency: "high" } }),
    },
    linux: { "CVE-2026-0010": trixie({ status: "resolved", fixed_version: "6.12.70-1", urgency: "not yet assigned" }) },
    busybox: { "CVE-2026-0020": trixie({ status: "undetermined", urgency: "unimportant" }) },
    "gcc-14": { "CVE-2026-0030": trixie({ status: "resolved", fixed_version: "14.2.0-19", urgency: "medium" }) },
    elsewhere: { "CVE-2026-0040": trixie({ status: "open", urgency: "high" }) },
  };
}

/** A lock of a few packages; hashes are made up. */
export function auditedLock(): Lock {
  const suites = [{ archive: "debian", suite: "trixie", components: ["main"], releaseSha256: "0".repeat(64), date: 0 }];
  return {
    format: 1,
    epoch: 0,
    architecture: "amd64",
    suites: [...suites, { ...suites[0]!, archive: "vendor" }],
    requested: { platform: [], foundry: [] },
    platform: [
      locked("libgcc-s1", "14.2.0-19+b3", "gcc-14"),
      locked("libssl3t64", "3.5.7-1~deb13u3", "openssl"),
      {
        ...locked("linux-image-6.12.63-amd64", "6.12.63-1", "linux-signed-amd64"),
        source: { name: "linux-signed-amd64", version: "6.12.63+1" },
      },
      { ...locked("vendor-tool", "1.0", "vendor-tool"), archive: "vendor" },
    ],
    foundry: [locked("busybox-static", "1:1.37.0-6+b9", "busybox"), locked("libssl3t64", "3.5.7-1~deb13u3", "openssl")],
    blobs: [{ name: "kubelet", sizeBytes: 1, sha256: "1".repeat(64) }],
  };
}

function locked(name: string, version: string, source: string): LockedPackage {
  const path = `pool/main/${source[0]}/${source}/${name}_${version.replace(/^\d+:/, "")}_amd64.deb`;
  const sha256 = "a".repeat(64);
  return { name, version, architecture: "amd64", sizeBytes: 1, sha256, archive: "debian", suite: "trixie", path };
}
