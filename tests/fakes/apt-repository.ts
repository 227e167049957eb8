import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../src/host/run.ts";

export interface FakePackage {
  name: string;
  version?: string;
  /** More fields of the control file. */
  fields?: Record<string, string>;
}

/** A key pair made for a test: GnuPG home and the exported public keyring. */
export interface FakeKey {
  home: string;
  keyring: string;
}

export async function makeKey(directory: string): Promise<FakeKey> {
  const home = join(directory, "gnupg");
  await mkdir(home, { recursive: true, mode: 0o700 });
  const gpg = ["--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", ""];
  await run("gpg", [...gpg, "--quick-generate-key", "Fake Archive <fake@example.org>", "ed25519", "sign", "never"]);
  const keyring = join(directory, "keyring.gpg");
  await run("gpg", [...gpg, "--output", keyring, "--export"]);
  await run("gpgconf", ["--homedir", home, "--kill", "all"]);
  return { home, keyring };
}

/** A real, small apt archive of one suite below `directory`: real .deb files, indexes and InRelease. */
export async function makeArchive(
  directory: string,
  suite: string,
  packages: readonly FakePackage[],
  key: FakeKey,
  options: { date?: string } = {},
): Promise<void> {
  const pool = join(directory, "pool", "main", suite);
  await mkdir(pool, { recursive: true });
  for (const entry of packages) await makePackage(directory, pool, entry);
  const binary = join(directory, "dists", suite, "main", "binary-amd64");
  await mkdir(binary, { recursive: true });
  const index = await run("apt-ftparchive", ["packages", join("pool", "main", suite)], { cwd: directory });
  await writeFile(join(binary, "Packages"), index.stdout);
  await signRelease(directory, suite, key, options.date ?? "Thu, 01 Jan 2026 00:00:00 UTC");
}

/** Makes the Release file anew from the indexes, and signs it. */
export async function signRelease(
  directory: string,
  suite: string,
  key: FakeKey,
  date: string,
  more: Record<string, string> = {},
): Promise<void> {
  await signDirectory(join(directory, "dists", suite), suite, key, date, more);
}

/** A flat repository (`deb URL /`): Packages and InRelease at its top, the files in a directory. */
export async function makeFlatArchive(
  directory: string,
  packages: readonly FakePackage[],
  key: FakeKey,
): Promise<void> {
  const pool = join(directory, "amd64");
  await mkdir(pool, { recursive: true });
  for (const entry of packages) await makePackage(`${directory}.build`, pool, entry);
  const index = await run("apt-ftparchive", ["packages", "amd64"], { cwd: directory });
  await writeFile(join(directory, "Packages"), index.stdout);
  await signDirectory(directory, "flat", key, "Thu, 01 Jan 2026 00:00:00 UTC");
}

async function signDirectory(
  dists: string,
  suite: string,
  key: FakeKey,
  date: string,
  more: Record<string, string> = {},
): Promise<void> {
  const fields = {
    Origin: "Fake",
    Label: "Fake",
    Suite: suite,
    Codename: suite,
    Date: date,
    Architectures: "amd64",
    Components: "main",
  };
  const options = Object.entries(fields).flatMap(([name, value]) => [
    "-o",
    `APT::FTPArchive::Release::${name}=${value}`,
  ]);
  const release = await run("apt-ftparchive", [...options, "release", "."], { cwd: dists });
  await run(
    "gpg",
    [
      "--homedir",
      key.home,
      "--batch",
      "--yes",
      "--pinentry-mode",
      "loopback",
      "--passphrase",
      "",
      "--clearsign",
      "--output",
      join(dists, "InRelease"),
    ],
    {
      input: `${Object.entries(more)
        .map(([name, value]) => `${name}: ${value}\n`)
        .join("")}${release.stdout}`,
    },
  );
  await run("gpgconf", ["--homedir", key.home, "--kill", "all"]);
}

async function makePackage(directory: string, pool: string, entry: FakePackage): Promise<void> {
  const version = entry.version ?? "1.0";
  const tree = join(directory, "build", `${entry.name}-${version}`);
  await mkdir(join(tree, "DEBIAN"), { recursive: true });
  const fields = {
    Package: entry.name,
    Version: version,
    Architecture: "amd64",
    Maintainer: "Fake <fake@example.org>",
    Description: "made for a test",
    ...entry.fields,
  };
  const control = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`);
  await writeFile(join(tree, "DEBIAN", "control"), control.join(""));
  const file = join(pool, `${entry.name}_${version.replace(":", "%3a")}_amd64.deb`);
  await run("dpkg-deb", ["--build", "--root-owner-group", "-Znone", tree, file]);
}
