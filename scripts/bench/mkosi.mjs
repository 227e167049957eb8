// mkosi 25.3 of Debian 13, in a scratch root made from its packages, building the same package set to the same kind of
// image: erofs root, dm-verity, signed UKI, GPT. Its package cache is warm, as kubedos' store is.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { kubedos, timed, writeSpec } from "./support.mjs";

const tools =
  "?essential mkosi apt dpkg python3 systemd systemd-ukify systemd-boot systemd-boot-efi systemd-repart mtools dosfstools erofs-utils cryptsetup-bin sbsigntool debian-archive-keyring ca-certificates zstd cpio kmod util-linux mount uidmap mawk bubblewrap openssl fdisk e2fsprogs gpgv";

export async function benchMkosi(scratch) {
  const work = join(scratch, "mkosi");
  const guest = join(work, "root");
  await mkdir(join(guest, "work"), { recursive: true });
  // 1. mkosi's own root, by the host's apt from trixie, only extracted.
  const mirror = await hostMirror();
  await extractTools(work, guest, mirror);
  // 2. The same packages as kubedos' lock asks for, the same kind of image.
  const spec = join(work, "lab.yaml");
  await writeSpec(spec, { name: "lab", nodes: 3 });
  await kubedos(["lock", spec]);
  const lock = JSON.parse(await readFile(join(work, "lab.lock"), "utf8"));
  await writeConfiguration(join(guest, "work"), lock.requested.platform, mirror);
  // 3. Once to fill its caches, then measured.
  const run = (...args) => inside(guest, ["mkosi", "--directory=/work", "--force", ...args, "build"]);
  await run();
  const warm = await run();
  await run("--incremental=yes");
  await writeFile(join(guest, "work/mkosi.extra/etc/motd"), "one changed file\n");
  const incremental = await run("--incremental=yes");
  return [
    { id: "mkosi", what: "mkosi 25.3, same packages, warm package cache", value: warm.seconds, unit: "s" },
    { id: "mkosi-inc", what: "mkosi 25.3, incremental, one changed file", value: incremental.seconds, unit: "s" },
  ];
}

async function hostMirror() {
  const { stdout } = await timed("apt-get", ["indextargets", "--format", "$(REPO_URI) $(LABEL)"]);
  const line = stdout.split("\n").find((one) => one.endsWith(" Debian"));
  if (line === undefined) throw new Error("the host's apt has no Debian archive");
  return line.split(" ")[0].replace(/\/$/, "");
}

async function extractTools(work, guest, mirror) {
  const apt = join(work, "apt");
  for (const directory of ["etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives/partial"]) {
    await mkdir(join(apt, directory), { recursive: true });
  }
  await writeFile(join(apt, "status"), "");
  const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  await writeFile(join(apt, "sources.list"), `deb [signed-by=${keyring}] ${mirror} trixie main\n`);
  const configuration = [
    `Dir::Etc "${apt}/etc";`,
    `Dir::Etc::sourcelist "${apt}/sources.list";`,
    `Dir::State::lists "${apt}/lists";`,
    `Dir::State::status "${apt}/status";`,
    `Dir::Cache "${apt}/cache";`,
    'APT::Architecture "amd64";',
    'APT::Install-Recommends "false";',
    'APT::Sandbox::User "root";',
  ];
  await writeFile(join(apt, "apt.conf"), configuration.join("\n"));
  const env = { APT_CONFIG: join(apt, "apt.conf") };
  await timed("apt-get", ["update", "-qq"], { env });
  await timed("apt-get", ["install", "-qq", "-y", "--download-only", ...tools.split(" ")], { env });
  const archives = join(apt, "cache/archives");
  const debs = (await readdir(archives)).filter((name) => name.endsWith(".deb"));
  const base = debs.filter((name) => name.startsWith("base-files_"));
  for (const deb of [...base, ...debs.filter((name) => !base.includes(name))]) {
    await timed("dpkg-deb", ["--extract", join(archives, deb), guest]);
  }
  await timed("ln", ["-sf", "mawk", join(guest, "usr/bin/awk")]);
  await timed("cp", ["/etc/resolv.conf", "/etc/hosts", join(guest, "etc")]);
  await writeFile(
    join(guest, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n",
  );
  await writeFile(join(guest, "etc/group"), "root:x:0:\nnogroup:x:65534:\n");
}

async function writeConfiguration(work, packages, mirror) {
  await mkdir(join(work, "mkosi.extra/etc"), { recursive: true });
  await mkdir(join(work, "mkosi.repart"), { recursive: true });
  // Its own sources would include debian-debug, which few mirrors carry.
  const sources = join(work, "mkosi.sandbox/etc/apt/sources.list.d");
  await mkdir(sources, { recursive: true });
  const stanza = `Types: deb\nURIs: ${mirror}\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n`;
  await writeFile(join(sources, "mkosi.sources"), stanza);
  const configuration = [
    "[Distribution]",
    "Distribution=debian",
    "Release=trixie",
    `Mirror=${mirror}`,
    "[Output]",
    "Format=disk",
    "OutputDirectory=out",
    "CompressOutput=no",
    "[Build]",
    "CacheDirectory=cache",
    "PackageCacheDirectory=packages",
    "[Content]",
    "Bootable=yes",
    "Bootloader=uki",
    "WithDocs=no",
    `Packages=${[...packages, "systemd-boot-efi"].join(",")}`,
    "[Validation]",
    "SecureBoot=yes",
    "SecureBootAutoEnroll=no",
  ];
  await writeFile(join(work, "mkosi.conf"), `${configuration.join("\n")}\n`);
  const definitions = {
    "00-esp.conf": "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/efi:/\nCopyFiles=/boot:/\nSizeMinBytes=128M\n",
    "10-root.conf":
      "[Partition]\nType=root\nFormat=erofs\nCompression=lz4hc\nCopyFiles=/\nVerity=data\nVerityMatchKey=root\nMinimize=best\n",
    "20-verity.conf": "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n",
  };
  for (const [name, text] of Object.entries(definitions)) await writeFile(join(work, "mkosi.repart", name), text);
  await timed("openssl", [
    ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=bench/"],
    ...["-keyout", join(work, "mkosi.key"), "-out", join(work, "mkosi.crt")],
  ]);
}

/** Runs a command in mkosi's root, in mount and pid namespaces of its own. */
function inside(guest, command) {
  const script =
    'cd "$0" && mount --bind . . && cd "$0" && mount -t proc proc proc && mount --rbind /dev dev && mount --rbind /sys sys && ' +
    'mount -t tmpfs run run && mount -t tmpfs tmp tmp && mkdir -p var/tmp && exec chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"';
  const namespaces = ["--mount", "--pid", "--fork", "--kill-child"];
  return timed("unshare", [...namespaces, "sh", "-c", script, guest, ...command]);
}
