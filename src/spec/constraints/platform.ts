import { type Finding, formatPath, type Path } from "../finding.ts";
import { printable, show } from "../issues.ts";
import type { Constraint } from "./types.ts";

/** Directories that are not part of an image: kernel interfaces, or made anew at every boot. */
const forbiddenDirectories = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"];
/** Directories that hold the system's own boot chain. */
const ownDirectories = ["/boot", "/efi", "/usr/lib/kubedos"];

const secretMarks = [/-----BEGIN [A-Z ]*PRIVATE KEY-----/, /AGE-SECRET-KEY-1/, /^\s*PrivateKey\s*=\s*[\w+/]{43}=\s*$/m];

/** Extra files have absolute, plain paths in places that an image holds, sane modes, and no secrets. */
export const extraFiles: Constraint = {
  name: "extra-files",
  reads: ["platform.files"],
  check: ({ written }) =>
    written.platform.files.flatMap((file, i): Finding[] => [
      ...checkImageFile(["platform", "files", i, "path"], file.path),
      ...checkMode(["platform", "files", i, "mode"], file.mode),
      ...(secretMarks.some((mark) => mark.test(file.content))
        ? [
            {
              path: ["platform", "files", i, "content"],
              message: `\`platform.files[${i}].content\` (${printable(file.path)}) holds a private key`,
              hint: "images are publishable: keep secrets out of the spec",
            },
          ]
        : []),
    ]),
};

/** Whether a file of the image may have this path. */
export function checkImageFile(path: Path, file: string): Finding[] {
  const what = `\`${formatPath(path)}\` is ${show(file)}`;
  if (!file.startsWith("/")) {
    return [{ path, message: `${what}, not an absolute path`, hint: `start it with \`/\`: \`/${printable(file)}\`` }];
  }
  if (/\p{C}/u.test(file) || file.length > 255) {
    return [
      { path, message: `${what}, with control characters or too long`, hint: "use at most 255 printable characters" },
    ];
  }
  const parts = file.slice(1).split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) {
    const hint = "write the plain path of a file, without `//`, `.`, `..` or `/` at the end";
    return [{ path, message: `${what}, not the plain path of a file`, hint }];
  }
  const forbidden = forbiddenDirectories.find((directory) => isWithin(file, directory));
  if (forbidden !== undefined) {
    return [{ path, message: `${what}; ${forbidden} is no part of an image`, hint: "use /etc, /usr/local or /opt" }];
  }
  const own = ownDirectories.find((directory) => isWithin(file, directory));
  if (own === undefined) return [];
  return [{ path, message: `${what}; ${own} belongs to the system`, hint: "use /etc, /usr/local or /opt" }];
}

/** Octal permissions without special bits, not writable for everyone. */
export function checkMode(path: Path, mode: string): Finding[] {
  const what = `\`${formatPath(path)}\` is ${show(mode)}`;
  if (!/^0?[0-7]{3}$/.test(mode)) {
    const special = /^0?[1-7][0-7]{3}$/.test(mode);
    const why = special ? "which sets setuid, setgid or sticky bits" : "not an octal mode";
    return [
      { path, message: `${what}, ${why}`, hint: 'write three octal digits after a 0, e.g. `"0644"` or `"0755"`' },
    ];
  }
  if ((Number.parseInt(mode, 8) & 0o002) === 0) return [];
  return [{ path, message: `${what}: everyone could write the file`, hint: 'write e.g. `"0644"`' }];
}

function isWithin(file: string, directory: string): boolean {
  return file === directory || file.startsWith(`${directory}/`);
}

/** @see https://www.debian.org/doc/debian-policy/ch-controlfields.html#s-f-source */
const packageName = /^[a-z0-9][a-z0-9+.-]+$/;

/** Extra packages have Debian package names. */
export const packageNames: Constraint = {
  name: "package-names",
  reads: ["platform.packages"],
  check: ({ written }) =>
    written.platform.packages.flatMap((name, i): Finding[] => {
      if (packageName.test(name)) return [];
      const plain = name.toLowerCase().replace(/[=:/ ].*$/s, "");
      const hint = packageName.test(plain)
        ? `write the name alone: \`${plain}\`; versions and architecture come from the lock`
        : "use at least two of a-z, 0-9, `+`, `-` and `.`";
      return [
        { path: ["platform", "packages", i], message: `${show(name)} is not the name of a Debian package`, hint },
      ];
    }),
};

/** Mirrors are URLs without credentials. */
export const mirrorUrls: Constraint = {
  name: "mirror-urls",
  reads: ["platform.mirror"],
  check: ({ written }) =>
    written.platform.mirror.flatMap((text, i): Finding[] => {
      const path = ["platform", "mirror", i];
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (url === undefined || !["http:", "https:", "file:"].includes(url.protocol)) {
        const hint = "write a URL that starts with `http://`, `https://` or `file:///`";
        return [{ path, message: `mirror ${show(text)} is not a URL of a Debian archive`, hint }];
      }
      if (url.username !== "" || url.password !== "") {
        const message = `\`platform.mirror[${i}]\` holds a user name or password`;
        return [{ path, message, hint: "put credentials into apt's auth.conf of this host (apt_auth.conf(5))" }];
      }
      if (url.protocol === "file:" && url.host !== "") {
        const message = `mirror ${show(text)} names a host in a file URL`;
        return [{ path, message, hint: "write `file:///` and an absolute path" }];
      }
      if (url.search === "" && url.hash === "") return [];
      return [{ path, message: `mirror ${show(text)} has a query or a fragment`, hint: "write the base URL only" }];
    }),
};

/** Keys outside of the vault, and revoked ones, are written so that they can be read. */
export const signingKeys: Constraint = {
  name: "signing-keys",
  reads: ["trust.signing", "trust.revoked"],
  check({ spec: { trust } }) {
    const findings: Finding[] = [];
    if (trust.signing !== undefined && !isSignifyKey(trust.signing.foundryKey)) {
      findings.push({
        path: ["trust", "signing", "foundryKey"],
        message: `\`trust.signing.foundryKey\` is ${show(trust.signing.foundryKey)}, not a signify public key`,
        hint: "copy the second line of foundry.pub",
      });
    }
    if (trust.signing !== undefined && !pemCertificate.test(trust.signing.certificate)) {
      findings.push({
        path: ["trust", "signing", "certificate"],
        message: "`trust.signing.certificate` is not a certificate in PEM",
        hint: "write `certificate: |` and below it, indented, the lines from -----BEGIN CERTIFICATE----- on",
      });
    }
    for (const [i, key] of trust.revoked.entries()) {
      if (/^[0-9a-f]{64}$/.test(key) || isSignifyKey(key)) continue;
      findings.push({
        path: ["trust", "revoked", i],
        message: `\`trust.revoked[${i}]\` is ${show(key)}, neither a fingerprint nor a signify public key`,
        hint: "write 64 hexadecimal digits, or the second line of a foundry.pub",
      });
    }
    return findings;
  },
};

const pemCertificate = /^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----\n?$/;

function isSignifyKey(key: string): boolean {
  return /^RW[A-Za-z0-9+/]{54}$/.test(key) && Buffer.from(key, "base64").subarray(0, 2).toString() === "Ed";
}

/** A pinned foundry key is a public key in signify's format: "Ed", 8 bytes key number, 32 bytes key. */
export const foundryKey: Constraint = {
  name: "foundry-key",
  reads: ["trust.foundryKey"],
  check({ spec }) {
    const key = spec.trust.foundryKey;
    if (key === undefined || isSignifyKey(key)) return [];
    const message = `\`trust.foundryKey\` is ${show(key)}, not a signify public key`;
    return [
      {
        path: ["trust", "foundryKey"],
        message,
        hint: "copy the 56 characters that `kubedos init` printed, or remove the field",
      },
    ];
  },
};
