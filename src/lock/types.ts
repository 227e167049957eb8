import type {
  LockedBlob,
  LockedImage,
  LockedSecurityData,
  LockedSource,
  LockedWheel,
  PythonRequest,
} from "./inputs.ts";

export const lockFormat = 1;

/** One Debian binary package, pinned. Its place is `<mirror of the archive>/<path>`; no host is named. */
export interface LockedPackage {
  name: string;
  version: string;
  architecture: string;
  sizeBytes: number;
  sha256: string;
  /** Archive the path is relative to: `debian` or `debian-security`. */
  archive: string;
  suite: string;
  /** Pool path, e.g. `pool/main/b/bash/bash_5.2.37-2_amd64.deb`; an installer's part ends in `.udeb`. */
  path: string;
  /** Source package, where it is not the one that path and version say: for the security audit. */
  source?: { name: string; version: string };
}

/** An index that was used to resolve, for the record: whose Release file, of which date. */
export interface LockedSuite {
  archive: string;
  suite: string;
  components: string[];
  /** sha256 of the InRelease file whose signature was checked. */
  releaseSha256: string;
  /** Date field of the Release file, seconds since 1970. */
  date: number;
}

/** Sections of a lock that name Debian's packages, installer's parts among them. */
export const packageSections = ["platform", "foundry", "machines", "shim", "netinst", "installer"] as const;
export type PackageSection = (typeof packageSections)[number];

/** `cluster.lock`: every input of a build, pinned by hash. */
export interface Lock {
  format: typeof lockFormat;
  /** Fixed clock of every build from this lock (SOURCE_DATE_EPOCH), seconds since 1970: the newest suite's date. */
  epoch: number;
  architecture: "amd64";
  suites: LockedSuite[];
  /** What was asked for, sorted; a spec that asks for something else needs `lock --update`. */
  requested: {
    platform: string[];
    foundry: string[];
    machines?: string[];
    shim?: string[];
    netinst?: string[];
    installer?: string[];
    python?: PythonRequest[];
  };
  /** Closures, sorted by name. */
  platform: LockedPackage[];
  foundry: LockedPackage[];
  /** What a capsule brings beside the foundry root to run machines; absent in locks of earlier versions. */
  machines?: LockedPackage[];
  /** Debian's shim, where the spec wants boot images that start by it. Single packages, no closure. */
  shim?: LockedPackage[];
  /** What the target netinst installs or starts from beyond the platform; absent where no spec has that target. */
  netinst?: LockedPackage[];
  /** Parts of Debian's installer (udebs) on the medium of that target. */
  installer?: LockedPackage[];
  /** Absent where the spec asks for none; sorted by prefix, by what they build, and by name. */
  wheels?: LockedWheel[];
  /** Sorted by name. */
  blobs?: LockedBlob[];
  /** Sorted by reference. */
  images?: LockedImage[];
  /** Sorted by name. */
  thirdParty?: LockedSource[];
  /** Absent: there was no data at lock time. */
  securityData?: LockedSecurityData;
}
