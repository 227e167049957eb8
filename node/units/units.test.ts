import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const units = import.meta.dirname;
const own = readdirSync(units).filter((name) => name.endsWith(".service"));
const unitDirectory = "/usr/lib/systemd/system";

// A root with our units, this host's systemd units for them to refer to, and the commands they name.
let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "kubedos-units-"));
  mkdirSync(join(root, unitDirectory), { recursive: true });
  const host = existsSync(join(unitDirectory, "sysinit.target")) ? unitDirectory : "/lib/systemd/system";
  cpSync(host, join(root, unitDirectory), { recursive: true, verbatimSymlinks: true });
  for (const name of own) cpSync(join(units, name), join(root, unitDirectory, name));
  for (const path of [
    "/usr/bin/node",
    "/usr/sbin/apparmor_parser",
    "/usr/sbin/nft",
    "/usr/sbin/dmsetup",
    "/usr/sbin/haproxy",
    "/usr/sbin/sysctl",
    "/usr/lib/systemd/systemd-journal-remote",
    "/usr/lib/systemd/systemd-sysctl",
    "/usr/bin/sh",
    "/usr/lib/kubedos/salt-keys",
    "/usr/lib/kubedos/salt/bin/salt",
    "/usr/lib/kubedos/salt/bin/salt-master",
    "/usr/lib/kubedos/salt/bin/salt-minion",
  ]) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), "#!/bin/sh\n", { mode: 0o755 });
  }
  symlinkSync("usr/bin", join(root, "bin"));
  const lent = join(root, "/usr/local/bin");
  mkdirSync(lent, { recursive: true });
  writeFileSync(join(lent, "wireguard-go"), "#!/bin/sh\n", { mode: 0o755 });
});
afterAll(() => rmSync(root, { recursive: true }));

test.each(own)("systemd understands %s", (name) => {
  const path = join(root, unitDirectory, name.replace("@.", "@wg1."));
  if (name.includes("@")) symlinkSync(name, path);
  const args = ["verify", `--root=${root}`, "--man=no", "--recursive-errors=no", path];
  const { stderr } = spawnSync("systemd-analyze", args, { encoding: "utf8" });
  // The key came with systemd 254; nodes have 257, this host may be older. Only what is said of our units counts.
  const complaints = stderr
    .split("\n")
    .filter((line) => line.includes("kubedos") && !line.includes("'ImportCredential'"));
  expect(complaints).toEqual([]);
});

// A Salt minion is the administrator's hand, and is not listed: a state may change anything but what its unit closes.
test.each([
  ["kubedos-agent.service", 30],
  ["kubedos-apparmor.service", 30],
  ["kubedos-converge.service", 30],
  ["kubedos-ebpf.service", 30],
  ["kubedos-enroll.service", 20],
  ["kubedos-firewall.service", 30],
  ["kubedos-join.service", 20],
  ["kubedos-journal-remote.service", 30],
  ["kubedos-journal-tls.service", 30],
  ["kubedos-modules-lock.service", 30],
  ["kubedos-repository.service", 20],
  ["kubedos-state.service", 30],
  ["kubedos-state-fill.service", 30],
  ["kubedos-state-mount.service", 30],
  ["kubedos-sysctl.service", 30],
  ["kubedos-verity.service", 30],
  ["kubedos-wireguard@wg1.service", 30],
  ["kubedos-salt-accept.service", 20],
  ["kubedos-salt-ping.service", 30],
  ["salt-master.service", 30],
])("%s is exposed to at most %i tenths", (name, threshold) => {
  const args = ["security", "--offline=true", `--root=${root}`, `--threshold=${threshold}`, "--no-pager", name];
  expect(() => execFileSync("systemd-analyze", args, { stdio: "pipe" })).not.toThrow();
});

test("what mounts for all others has nothing that would give it mounts of its own", () => {
  const text = readFileSync(join(units, "kubedos-state-mount.service"), "utf8");
  const own =
    /^(Private(Devices|IPC|Mounts|Network|PIDs|Tmp|Users)|ProcSubset|Protect(ControlGroups|Home|Hostname|Kernel\w+|Proc|System)|\w+Paths|Root\w+|(Load|Import)Credential|DynamicUser|(State|Cache|Logs)Directory)=/m;
  expect(text).toMatch(/^\[Service\]$/m);
  expect(text).not.toMatch(own);
});

test("no unit of ours takes a private key on its command line or keeps more credentials than it needs", () => {
  const imports = own.flatMap((name) => {
    const text = execFileSync("cat", [join(units, name)], { encoding: "utf8" });
    return text.split("\n").filter((line) => /^(Import|Load|Set)Credential/.test(line));
  });
  expect(imports.toSorted()).toEqual([
    "ImportCredential=kubedos.enroll.token",
    "ImportCredential=kubedos.node",
    "ImportCredential=kubedos.node",
    "ImportCredential=kubedos.node",
    "ImportCredential=kubedos.node",
    "ImportCredential=kubedos.node",
    "ImportCredential=kubedos.pki.*",
    "ImportCredential=network.wireguard.private.%i",
    "LoadCredential=agent.crt:/run/kubedos/pki/agent.crt",
    "LoadCredential=agent.key:/run/kubedos/pki/agent.key",
    "LoadCredential=master.pem:kubedos.salt.master.pem",
    "LoadCredential=minion.pem:kubedos.salt.minion.pem",
    "LoadCredential=telemetry.pem.key:/run/kubedos/pki/telemetry.key",
    "LoadCredential=telemetry.pem:/run/kubedos/pki/telemetry.crt",
  ]);
});
