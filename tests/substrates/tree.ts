import { chmod, copyFile, mkdir, realpath, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run } from "../../src/host/run.ts";

/**
 * The smallest root that a container boots: the host's shell and a few of its tools with their libraries, and a script
 * as init. It writes an event, shows what it was given, and ends at the signal that asks systemd to power off.
 */
export async function makeTree(root: string): Promise<string> {
  for (const directory of ["dev", "etc", "proc", "run", "sbin", "sys", "tmp", "usr/bin", "var/lib/dpkg"]) {
    await mkdir(join(root, directory), { recursive: true });
  }
  for (const program of ["/bin/sh", "/bin/cat", "/bin/sleep", "/bin/ls"]) await copyProgram(program, root);
  await writeFile(join(root, "etc/os-release"), "ID=test\n");
  await writeFile(join(root, "sbin/init"), init);
  await chmod(join(root, "sbin/init"), 0o755);
  return root;
}

/** 37 is SIGRTMIN+3: systemd's order to power off. */
const init = `#!/bin/sh
trap 'echo powering off; exit 0' 37
host=/run/kubedos/host
echo '{"at":"2025-01-01T00:00:00Z","type":"node.phase","node":"hub-1","phase":"rendered"}' >> $host/events.jsonl
echo "node: $(cat $CREDENTIALS_DIRECTORY/kubedos.node)"
echo "layer: $(cat /run/kubedos/layer/cluster-id)"
echo "links:" $(ls /sys/class/net)
ls $host/wireguard-go
ls /dev/net/tun
echo up
while :; do sleep 0.1; done
`;

async function copyProgram(program: string, root: string): Promise<void> {
  const { stdout } = await run("ldd", [program]);
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]!);
  for (const path of [program, ...libraries]) {
    const target = join(root, path);
    await mkdir(dirname(target), { recursive: true });
    await copyFile(await realpath(path), target);
  }
}
