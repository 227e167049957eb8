import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { run } from "../host/run.ts";
import { expandMirrorFiles, parseConfigDump, parseReleaseUris, settingsToCarry } from "./host-apt.ts";
import { fileUrl, resolveMirrors } from "./mirrors.ts";

const noHost = { debian: [], "debian-security": [] };

describe("resolveMirrors", () => {
  test.each([
    ["http://deb.debian.org/debian", "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"],
    ["http://deb.debian.org/debian/", "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"],
    [
      "https://snapshot.debian.org/archive/debian/20260101T000000Z",
      "https://snapshot.debian.org/archive/debian/20260101T000000Z",
      "https://snapshot.debian.org/archive/debian-security/20260101T000000Z",
    ],
    [
      "https://files.corp/{archive}-remote",
      "https://files.corp/debian-remote",
      "https://files.corp/debian-security-remote",
    ],
    ["https://debian/x", "https://debian/x/debian", "https://debian/x/debian-security"],
    ["file:///media/x", "file:/media/x/debian", "file:/media/x/debian-security"],
    ["/media/x/debian", "file:/media/x/debian", "file:/media/x/debian-security"],
  ])("%s", (entry, debian, security) => {
    expect(resolveMirrors([entry], noHost)).toEqual({ debian: [debian], "debian-security": [security] });
  });

  test("a mirror of the security archive only", () => {
    const listed = ["http://ftp.example.org/debian", "http://security.debian.org/debian-security"];
    expect(resolveMirrors(listed, noHost)).toEqual({
      debian: ["http://ftp.example.org/debian"],
      "debian-security": ["http://ftp.example.org/debian-security", "http://security.debian.org/debian-security"],
    });
  });

  test("the host's own, the security archive beside it where the host names none", () => {
    const host = { debian: ["http://a/debian"], "debian-security": ["http://b/sec"] };
    expect(resolveMirrors([], host)).toEqual(host);
    expect(resolveMirrors([], { ...host, "debian-security": [] })["debian-security"]).toEqual([
      "http://a/debian-security",
    ]);
    expect(resolveMirrors(["http://c/debian"], host)["debian"]).toEqual(["http://c/debian"]);
  });
});

test("fileUrl encodes what a pool path may hold", () => {
  expect(fileUrl("http://a/debian", "pool/main/g/g++/g++_1%3a2~b_amd64.deb")).toBe(
    "http://a/debian/pool/main/g/g%2B%2B/g%2B%2B_1%253a2~b_amd64.deb",
  );
});

test("the host's Debian archives are found among its sources by apt itself, one-line and deb822, others left out", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kubedos-sources-"));
  try {
    for (const part of ["parts", "lists/partial"]) await mkdir(join(directory, part), { recursive: true });
    await writeFile(
      join(directory, "sources.list"),
      "deb [arch=amd64] http://one.example/debian bookworm main\ndeb http://ppa.example/x jammy main\ndeb http://flat.example/ ./\n",
    );
    await writeFile(
      join(directory, "parts", "d.sources"),
      "Types: deb\nURIs: https://two.example/mirror/debian/\nSuites: stable stable-updates\nComponents: main contrib\n\n" +
        "Types: deb\nURIs: http://sec.example/debian-security\nSuites: trixie-security\nComponents: main\n\n" +
        "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n",
    );
    const { stdout } = await run(
      "apt-get",
      [
        "update",
        "--print-uris",
        "-o",
        `Dir::Etc::sourcelist=${directory}/sources.list`,
        "-o",
        `Dir::Etc::sourceparts=${directory}/parts`,
        "-o",
        `Dir::State::lists=${directory}/lists`,
      ],
      { okStatuses: [0, 100] },
    );
    const found = parseReleaseUris(stdout);
    expect(found.debian.toSorted()).toEqual(["http://one.example/debian", "https://two.example/mirror/debian"]);
    expect(found["debian-security"]).toEqual(["http://sec.example/debian-security"]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("mirror lists in files are read, as Debian's cloud images have them", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kubedos-mirrors-"));
  try {
    const list = join(directory, "debian.list");
    await writeFile(list, "# ours\nhttps://near.example/debian/\tpriority:1\nhttps://far.example/debian\n");
    const source = `Types: deb\nURIs: mirror+file://${list}\nSuites: trixie\nComponents: main\n`;
    await mkdir(join(directory, "parts"));
    await mkdir(join(directory, "lists/partial"), { recursive: true });
    await writeFile(join(directory, "parts", "d.sources"), source);
    const options = ["sourcelist=/dev/null", `sourceparts=${directory}/parts`].flatMap((item) => [
      "-o",
      `Dir::Etc::${item}`,
    ]);
    const args = ["update", "--print-uris", ...options, "-o", `Dir::State::lists=${directory}/lists`];
    const { stdout } = await run("apt-get", args);
    expect((await expandMirrorFiles(parseReleaseUris(stdout))).debian).toEqual([
      "https://near.example/debian",
      "https://far.example/debian",
    ]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("the way to a server is taken over from the host's apt, nothing that weakens signatures", () => {
  const dump =
    'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::https::a.example::CaInfo "/ca.pem";\n' +
    'Acquire::AllowInsecureRepositories "true";\nAcquire::AllowWeakRepositories "true";\n' +
    'APT::Get::AllowUnauthenticated "true";\nDir::Etc::trusted "/x";\nAcquire::Retries "7";\nDPkg::Post-Invoke:: "rm x";\n';
  expect(settingsToCarry(dump).map(({ name }) => name)).toEqual([
    "Acquire::http::Proxy",
    "Acquire::https::a.example::CaInfo",
    "Acquire::Retries",
  ]);
});

test("parseConfigDump keeps names and values, and leaves empty sections out", () => {
  expect(parseConfigDump('Acquire "";\nAcquire::http::Proxy "http://a b/";\nX:: "1";\n')).toEqual([
    { name: "Acquire::http::Proxy", value: "http://a b/" },
    { name: "X::", value: "1" },
  ]);
});
